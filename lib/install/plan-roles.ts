import { identifier, literal } from "../postgres/identifiers.ts";
import type { ActualRole, ActualState } from "./actual.ts";
import { administrator } from "./administrator.ts";
import type { Change } from "./change.ts";
import { type DesiredRole, type DesiredState, roleMark } from "./desired.ts";
import { actAs, planMemberships, shareAdministration } from "./plan-memberships.ts";
import { planSettings } from "./plan-settings.ts";
import { schemaOwner } from "./role-names.ts";

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
