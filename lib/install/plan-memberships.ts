import { identifier } from "../postgres/identifiers.ts";
import type { ActualMembership, ActualRole, ActualState } from "./actual.ts";
import { administrator } from "./administrator.ts";
import { type Change, enumerate } from "./change.ts";
import { type DesiredRole, type DesiredState, roleMark } from "./desired.ts";
import { schemaOwner } from "./role-names.ts";

/** Version from which a grant of a role has options of its own, and a grantor that matters. */
const grantOptionsSince = 160000;

/** The installing user becomes a member, to create objects and default privileges in that role's name. */
export function actAs(
  role: string,
  found: ActualRole | undefined,
  actual: ActualState,
  version: number,
): Change {
  const needs =
    found === undefined
      ? actual.createrole
        ? undefined
        : "a role with CREATEROLE"
      : administrator(found, actual);
  return {
    kind: "grant",
    sql: `GRANT ${identifier(role)} TO ${identifier(actual.user)}${version >= grantOptionsSince ? " WITH INHERIT TRUE, SET TRUE" : ""}`,
    reason: `${actual.user}, who installs, cannot act for ${role}`,
    result: `${actual.user} can act for ${role}`,
    required: true,
    ...(needs === undefined ? {} : { needs }),
  };
}

export function planMemberships(
  role: DesiredRole,
  member: ActualRole | undefined,
  desired: DesiredState,
  actual: ActualState,
  version: number,
): Change[] {
  const changes: Change[] = [];
  const held = actual.memberships.filter((membership) => membership.member === role.name);
  for (const group of role.memberOf) {
    const rows = held.filter((membership) => membership.role === group);
    // On 14 and 15 inheritance is the member's attribute, which is repaired above.
    if (rows.some((row) => row.inherits || version < grantOptionsSince)) continue;
    const needs = mayGrant(group, actual) ? undefined : `a role that may grant ${group}`;
    changes.push({
      kind: "grant",
      sql: `GRANT ${identifier(group)} TO ${identifier(role.name)}${version >= grantOptionsSince ? " WITH INHERIT TRUE" : ""}`,
      reason:
        rows.length > 0 ? `${role.name} does not inherit from ${group}` : `${role.name} is not in ${group}`,
      result: `${role.name} ${member === undefined ? "joined" : "was not in"} ${group}${member === undefined ? "" : ": added"}`,
      required: true,
      ...(needs === undefined ? {} : { needs }),
    });
  }
  for (const membership of held) {
    if (isExpected(role, membership, desired)) {
      if (membership.admin) changes.push(leave(membership, "ADMIN OPTION FOR ", version));
    } else changes.push(leave(membership, "", version));
  }
  return changes;
}

function mayGrant(group: string, actual: ActualState): boolean {
  if (actual.superuser || actual.grantable.includes(group)) return true;
  const found = actual.roles.find(({ name }) => name === group);
  if (found !== undefined) return found.administrable;
  return actual.createrole && !group.startsWith("pg_");
}

/**
 * The roles that all databases share are members of the groups of each: of those of other databases that
 * pgkeep looks after, too.
 */
function isExpected(
  role: DesiredRole,
  { role: group, comment }: ActualMembership,
  desired: DesiredState,
): boolean {
  if (role.memberOf.includes(group)) return true;
  const { names } = desired;
  const elsewhere = (purpose: string, own: string) =>
    group !== own && comment?.startsWith(`${roleMark}${purpose} of database `) === true;
  if (role.name === names.maintenance) return elsewhere("owner", names.owner);
  if (role.name === schemaOwner) {
    return elsewhere("reads rows", names.reader) || elsewhere("owner", names.owner);
  }
  return false;
}

function leave(membership: ActualMembership, option: "" | "ADMIN OPTION FOR ", version: number): Change {
  const by = version >= grantOptionsSince && membership.grantor !== null;
  const what = option === "" ? "was a member of" : "could grant";
  return {
    kind: "revoke",
    sql: `REVOKE ${option}${identifier(membership.role)} FROM ${identifier(membership.member)}${
      by ? ` GRANTED BY ${identifier(membership.grantor as string)}` : ""
    }${by ? " CASCADE" : ""}`,
    reason: `${membership.member} ${option === "" ? "is a member of" : "may grant"} ${membership.role}`,
    result: `${membership.member} ${what} ${membership.role}: revoked`,
    required: false,
    ...(membership.revocable
      ? {}
      : { needs: by ? `${membership.grantor}, who granted it, or a superuser` : "a superuser" }),
  };
}

/**
 * From 16 on only who created a role may change it. Where administrators are members of rds_superuser, as on
 * RDS, each of them can go on with what another one began.
 */
export function shareAdministration(desired: DesiredState, actual: ActualState): Change[] {
  if (!actual.sharesAdministration) return [];
  const roles = desired.roles
    .map(({ name }) => name)
    .filter((name) => {
      const found = actual.roles.find((role) => role.name === name);
      return found === undefined ? actual.createrole : found.administrable && !found.shared;
    });
  if (roles.length === 0) return [];
  return [
    {
      kind: "grant",
      sql: `GRANT ${roles.map(identifier).join(", ")} TO rds_superuser WITH ADMIN TRUE, INHERIT FALSE, SET FALSE`,
      reason: `other members of rds_superuser may not change ${enumerate(roles)}`,
      result: `members of rds_superuser may change ${enumerate(roles)}`,
      required: false,
      attempt: true,
    },
  ];
}
