import { identifier, literal } from "../postgres/identifiers.ts";
import type { ActualMembership, ActualRole, ActualState } from "./actual.ts";
import { type Change, enumerate } from "./change.ts";
import { type DesiredRole, type DesiredState, roleMark } from "./desired.ts";
import { schemaOwner } from "./role-names.ts";
import { sameSetting } from "./settings.ts";

/** Version from which a grant of a role has options of its own, and a grantor that matters. */
const grantOptionsSince = 160000;

/** Roles, their attributes, their settings and who is a member of what. */
export function planRoles(desired: DesiredState, actual: ActualState, version: number): Change[] {
  const existing = new Map(actual.roles.map((role) => [role.name, role]));
  const changes: Change[] = [];
  for (const role of desired.roles) {
    const found = existing.get(role.name);
    changes.push(...(found === undefined ? [create(role, actual)] : repairAttributes(role, found, actual)));
  }
  for (const role of [desired.names.owner, schemaOwner]) {
    if (actual.superuser || existing.get(role)?.usable === true) continue;
    changes.push(actAs(role, existing.get(role), actual, version));
  }
  for (const role of desired.roles) {
    const member = existing.get(role.name);
    changes.push(...planMemberships(role, member, desired, actual, version));
    changes.push(...planSettings(role, member, actual));
  }
  return [...changes, ...shareAdministration(desired, actual)];
}

/**
 * From 16 on only who created a role may change it. Where administrators are members of rds_superuser, as on
 * RDS, each of them can go on with what another one began.
 */
function shareAdministration(desired: DesiredState, actual: ActualState): Change[] {
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

/** Names of roles that are in the way: somebody else's, with another meaning. */
export function foreignRoles(desired: DesiredState, actual: ActualState): string[] {
  return desired.roles.flatMap((role) => {
    const found = actual.roles.find(({ name }) => name === role.name);
    if (found === undefined || found.comment?.startsWith(roleMark) === true) return [];
    return found.login === role.login && !found.superuser ? [] : [role.name];
  });
}

function create(role: DesiredRole, actual: ActualState): Change {
  const limit = role.connectionLimit === -1 ? "" : ` CONNECTION LIMIT ${role.connectionLimit}`;
  const name = identifier(role.name);
  return {
    kind: "create",
    sql: `CREATE ROLE ${name} ${role.login ? "LOGIN" : "NOLOGIN"}${limit};\nCOMMENT ON ROLE ${name} IS ${literal(role.purpose)}`,
    reason: `role ${role.name} does not exist`,
    result: `role ${role.name}: created`,
    required: true,
    ...(actual.createrole ? {} : { needs: "a role with CREATEROLE" }),
  };
}

interface Attribute {
  name: "LOGIN" | "SUPERUSER" | "CREATEROLE" | "CREATEDB" | "REPLICATION" | "BYPASSRLS" | "INHERIT";
  is: boolean;
  should: boolean;
}

function repairAttributes(role: DesiredRole, found: ActualRole, actual: ActualState): Change[] {
  const changes: Change[] = [];
  const alter = (clause: string, reason: string, result: string, needs?: string) => {
    const lacking = needs ?? administrator(found, actual);
    changes.push({
      kind: "repair",
      sql: `ALTER ROLE ${identifier(role.name)} ${clause}`,
      reason: `role ${role.name} ${reason}`,
      result: `role ${role.name} ${result}`,
      required: false,
      ...(lacking === undefined ? {} : { needs: lacking }),
    });
  };
  const attributes: Attribute[] = [
    { name: "LOGIN", is: found.login, should: role.login },
    { name: "SUPERUSER", is: found.superuser, should: false },
    { name: "CREATEROLE", is: found.createrole, should: false },
    { name: "CREATEDB", is: found.createdb, should: false },
    { name: "REPLICATION", is: found.replication, should: false },
    { name: "BYPASSRLS", is: found.bypassrls, should: false },
    { name: "INHERIT", is: found.inherit, should: true },
  ];
  for (const { name, is, should } of attributes) {
    if (is === should) continue;
    // Only a superuser takes these away everywhere (16 lets a role that has them do it too).
    const privileged = name === "SUPERUSER" || name === "REPLICATION" || name === "BYPASSRLS";
    const needs = privileged && !actual.superuser ? "a superuser" : undefined;
    if (is) alter(`NO${name}`, `has ${name}`, `had ${name}: removed`, needs);
    else alter(name, `lacks ${name}`, `lacked ${name}: added`, needs);
  }
  if (found.connectionLimit !== role.connectionLimit) {
    const limit = (value: number) => (value === -1 ? "no limit" : String(value));
    alter(
      `CONNECTION LIMIT ${role.connectionLimit}`,
      `has connection limit ${limit(found.connectionLimit)} instead of ${limit(role.connectionLimit)}`,
      `had connection limit ${limit(found.connectionLimit)}: set to ${limit(role.connectionLimit)}`,
    );
  }
  if (!isDescribed(role, found)) {
    const needs = administrator(found, actual);
    changes.push({
      kind: "repair",
      sql: `COMMENT ON ROLE ${identifier(role.name)} IS ${literal(role.purpose)}`,
      reason: `role ${role.name} exists and is not marked as pgkeep's`,
      result: `role ${role.name} existed: adopted`,
      required: false,
      ...(needs === undefined ? {} : { needs }),
    });
  }
  return changes;
}

/** A role of several databases with the same prefix keeps the description of the first. */
function isDescribed(role: DesiredRole, { comment }: ActualRole): boolean {
  if (comment === null || !comment.startsWith(roleMark)) return false;
  return comment.startsWith(role.purpose) || comment.includes(" of database ");
}

/** Who can change a role that the installing user cannot, or undefined when it can. */
function administrator(role: ActualRole, actual: ActualState): string | undefined {
  if (role.administrable) return undefined;
  if (role.superuser) return "a superuser";
  return actual.createrole
    ? `a role with ADMIN OPTION on ${role.name}`
    : `a role with CREATEROLE (and, from PostgreSQL 16, ADMIN OPTION on ${role.name})`;
}

/** The installing user becomes a member, to create objects and default privileges in that role's name. */
function actAs(role: string, found: ActualRole | undefined, actual: ActualState, version: number): Change {
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

function planMemberships(
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
  if (role.name === schemaOwner) return elsewhere("reads rows", names.reader);
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

function planSettings(role: DesiredRole, found: ActualRole | undefined, actual: ActualState): Change[] {
  const changes: Change[] = [];
  const set = actual.settings.filter((setting) => setting.role === role.name);
  const needs = found === undefined ? undefined : administrator(found, actual);
  const change = (clause: string, inDatabase: boolean, reason: string, result: string) =>
    changes.push({
      kind: found === undefined ? "create" : "repair",
      sql: `ALTER ROLE ${identifier(role.name)}${inDatabase ? ` IN DATABASE ${identifier(actual.databaseName)}` : ""} ${clause}`,
      reason,
      result,
      required: false,
      ...(needs === undefined ? {} : { needs }),
    });
  const place = (inDatabase: boolean) => (inDatabase ? ` in database ${actual.databaseName}` : "");
  for (const [inDatabase, wanted] of [
    [false, role.settings],
    [true, role.databaseSettings],
  ] as const) {
    for (const [name, value] of Object.entries(wanted)) {
      const now = set.find((setting) => setting.name === name && setting.inDatabase === inDatabase);
      if (now !== undefined && sameSetting(name, now.value, value)) continue;
      const was = now?.value ?? "not set";
      change(
        `SET ${name} = ${literal(value).trim()}`,
        inDatabase,
        `${name} of ${role.name}${place(inDatabase)} is ${was} instead of ${value}`,
        found === undefined
          ? `${name} of ${role.name}${place(inDatabase)}: set to ${value}`
          : `${name} of ${role.name}${place(inDatabase)} was ${was}: set to ${value}`,
      );
    }
  }
  // A setting for this database alone would win over the role's own.
  for (const setting of set) {
    const { name, value, inDatabase } = setting;
    const overrides =
      inDatabase && name in role.settings && !sameSetting(name, value, role.settings[name] as string);
    const stray = name === "role" && !(inDatabase && name in role.databaseSettings);
    if (!overrides && !stray) continue;
    change(
      `RESET ${name}`,
      inDatabase,
      `${name} of ${role.name}${place(inDatabase)} is ${value}`,
      `${name} of ${role.name}${place(inDatabase)} was ${value}: reset`,
    );
  }
  return changes;
}
