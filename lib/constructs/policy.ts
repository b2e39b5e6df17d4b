import { Stack, Validations } from "aws-cdk-lib";
import * as iam from "aws-cdk-lib/aws-iam";
import type { IConstruct } from "constructs";
import type { GrantStatement } from "../aws/grants.ts";

/** Statements as data as a policy. Two that share a sid get numbers, because a policy takes each once. */
export function policyDocument(statements: readonly GrantStatement[]): iam.PolicyDocument {
  const used = new Map<string, number>();
  return new iam.PolicyDocument({
    // As written: merging would separate a statement from its conditions' reason.
    minimize: false,
    statements: statements.map(({ sid, effect, actions, resources, conditions }) => {
      const count = (used.get(sid) ?? 0) + 1;
      used.set(sid, count);
      return new iam.PolicyStatement({
        sid: count === 1 ? sid : `${sid}${count}`,
        effect: effect === "Deny" ? iam.Effect.DENY : iam.Effect.ALLOW,
        actions,
        resources,
        ...(conditions === undefined ? {} : { conditions }),
      });
    }),
  });
}

/**
 * Tells cdk-nag why statements allow more than one object, in each statement's own words. A wildcard without a
 * reason is left for it to find.
 */
export function explainWildcards(role: IConstruct, statements: readonly GrantStatement[]): void {
  const reasons = new Map<string, Set<string>>();
  for (const { effect, sid, resources, reason } of statements) {
    if (effect === "Deny" || reason === undefined) continue;
    for (const resource of resources) {
      const text = asNagWritesIt(Stack.of(role).resolve(resource));
      if (!text.includes("*")) continue;
      const known = reasons.get(text) ?? new Set();
      reasons.set(text, known.add(`${sid}: ${reason}`));
    }
  }
  for (const [resource, why] of reasons) {
    Validations.of(role).acknowledge({
      id: `AwsSolutions-IAM5[Resource::${resource}]`,
      reason: [...why].join("; "),
    });
  }
}

/** A resolved value as one text: references in angle brackets. */
function asNagWritesIt(value: unknown): string {
  if (typeof value === "string") return value;
  if (typeof value !== "object" || value === null) return String(value);
  const {
    Ref,
    "Fn::Join": join,
    "Fn::GetAtt": attribute,
    "Fn::ImportValue": imported,
  } = value as {
    Ref?: string;
    "Fn::Join"?: [string, unknown[]];
    "Fn::GetAtt"?: [string, string];
    "Fn::ImportValue"?: unknown;
  };
  if (join !== undefined) return join[1].map(asNagWritesIt).join(join[0]);
  if (attribute !== undefined) return `<${attribute.join(".")}>`;
  if (imported !== undefined) return asNagWritesIt(imported);
  return Ref === undefined ? JSON.stringify(value) : `<${Ref}>`;
}
