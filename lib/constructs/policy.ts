import * as iam from "aws-cdk-lib/aws-iam";
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
