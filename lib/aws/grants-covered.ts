import type { GrantStatement } from "./grants.ts";

/**
 * The statements without what others of them allow anyway: a resource that is in another statement's, or that one
 * of its wildcards takes in. Only statements without conditions cover, and denials stay as they are.
 */
export function withoutCovered(statements: readonly GrantStatement[]): GrantStatement[] {
  return statements
    .map((statement, index) => ({
      ...statement,
      resources: statement.resources.filter(
        (resource) => !statements.some((other, at) => covers(other, at, statement, index, resource)),
      ),
    }))
    .filter(({ resources }) => resources.length > 0);
}

function covers(
  other: GrantStatement,
  at: number,
  statement: GrantStatement,
  index: number,
  resource: string,
): boolean {
  if (other.conditions !== undefined || other.effect === "Deny" || statement.effect === "Deny") return false;
  if (!statement.actions.every((action) => other.actions.includes(action))) return false;
  // Of two that allow the same, the first stays.
  const wins = at < index || other.actions.length > statement.actions.length;
  return other.resources.some((wider) => (wider === resource ? wins : takesIn(wider, resource)));
}

/** Whether a resource of a policy takes in another one, each `*` of which stands for anything. */
function takesIn(wider: string, resource: string): boolean {
  const pattern = wider
    .split("*")
    .map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"))
    .join(".*");
  return new RegExp(`^${pattern}$`, "s").test(resource);
}
