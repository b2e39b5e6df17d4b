import type { ActualRole, ActualState } from "./actual.ts";

/** Who can change a role that the installing user cannot, or undefined when it can. */
export function administrator(role: ActualRole, actual: ActualState): string | undefined {
  if (role.administrable) return undefined;
  if (role.superuser) return "a superuser";
  return actual.createrole
    ? `a role with ADMIN OPTION on ${role.name}`
    : `a role with CREATEROLE (and, from PostgreSQL 16, ADMIN OPTION on ${role.name})`;
}
