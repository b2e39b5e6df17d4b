import type { PlacedResource } from "./synth.ts";

/** One statement of a policy in a template; `where` names the policy. */
export interface PlacedStatement {
  where: string;
  resourceType: string;
  /** The statement's own words: values may be intrinsic functions. */
  sid: string | undefined;
  effect: string;
  actions: string[];
  notActions: unknown;
  resources: unknown[];
  notResources: unknown;
  principals: unknown;
  conditions: Record<string, Record<string, unknown>>;
}

interface RawStatement {
  Sid?: string;
  Effect: string;
  Action?: string | string[];
  NotAction?: unknown;
  Resource?: unknown;
  NotResource?: unknown;
  Principal?: unknown;
  Condition?: Record<string, Record<string, unknown>>;
}

const list = <Value>(value: Value | Value[] | undefined): Value[] =>
  value === undefined ? [] : Array.isArray(value) ? value : [value];

const isStatement = (value: object): value is RawStatement =>
  "Effect" in value && ("Action" in value || "NotAction" in value);

/** Every policy statement anywhere in the resources: of roles, keys, topics, queues, buckets and endpoints. */
export function statementsOf(resources: readonly PlacedResource[]): PlacedStatement[] {
  return resources.flatMap((resource) => {
    const found: PlacedStatement[] = [];
    const walk = (value: unknown): void => {
      if (Array.isArray(value)) value.forEach(walk);
      else if (typeof value === "object" && value !== null) {
        if (isStatement(value)) {
          found.push({
            where: `${resource.stack}/${resource.logicalId}`,
            resourceType: resource.Type,
            sid: value.Sid,
            effect: value.Effect,
            actions: list(value.Action),
            notActions: value.NotAction,
            resources: list(value.Resource),
            notResources: value.NotResource,
            principals: value.Principal,
            conditions: value.Condition ?? {},
          });
        } else Object.values(value).forEach(walk);
      }
    };
    walk(resource.Properties);
    return found;
  });
}
