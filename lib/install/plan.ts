import type { JobConfig } from "../config/schema.ts";
import { PgkeepError } from "../errors.ts";
import type { Session } from "../ports/databases.ts";
import { type ActualState, readActualState } from "./actual.ts";
import { type BlockedChange, type Change, enumerate, isBlocked } from "./change.ts";
import { desiredState, everybody, extensions, managedRoles, passwordMark } from "./desired.ts";
import { planAccess } from "./plan-access.ts";
import { foreignRoles, planRoles } from "./plan-roles.ts";
import { planExtensions, planOwnRights, planOwnSchema } from "./plan-schema.ts";
import { type RoleNames, roleNames, schemaOwner } from "./role-names.ts";
import { currentSchemaVersion, readSchemaVersion, schemaFiles } from "./schema-version.ts";

/** What an installation would do to one database, in this order. */
export interface InstallPlan {
  database: string;
  /** Who would do it. */
  user: string;
  schemaVersion: { installed: number | null; current: number };
  /** Statements that the user may run; empty when everything is as it should be. */
  changes: Change[];
  /** What the user may not do, and who may. A `required` one stops the installation. */
  blocked: BlockedChange[];
  /** What else a person should know before. */
  warnings: string[];
}

export interface PlanOptions {
  /** Roles that get a password now: they log in with it instead of IAM, as those that got one before. */
  withPassword?: readonly string[];
}

/**
 * Compares the database with its configuration and says what would have to be done. Reads only.
 * @throws PgkeepError `refused` (another database, somebody else's role or schema), `newer-schema`
 */
export async function planInstall(
  session: Session,
  config: JobConfig,
  options: PlanOptions = {},
): Promise<InstallPlan> {
  requireTheDatabase(session, config);
  const names = roleNames(config);
  const actual = await readActualState(session, managedRoles(config), names.owner, extensions);
  const desired = desiredState(config, {
    grantable: new Set(reachable(actual, names)),
    withPassword: new Set([
      ...(options.withPassword ?? []),
      ...actual.roles.filter(({ comment }) => comment?.endsWith(passwordMark)).map(({ name }) => name),
    ]),
  });
  const installed = actual.ownSchema === null ? undefined : await readSchemaVersion(session);
  const current = await currentSchemaVersion();
  if (actual.ownSchema !== null && installed === undefined) {
    throw new PgkeepError("refused", `database ${actual.databaseName} has a schema pgkeep of somebody else`, {
      remedy: "rename that schema: pgkeep keeps its own tables under this name",
    });
  }
  const inTheWay = foreignRoles(desired, actual);
  if (inTheWay.length > 0) {
    throw new PgkeepError("refused", `these roles exist and are not pgkeep's: ${inTheWay.join(", ")}`, {
      remedy:
        "set roles.prefix to another name, or give pgkeep the role with COMMENT ON ROLE … IS 'pgkeep: adopted'",
    });
  }
  const version = session.serverVersionNumber;
  const all = [
    ...planRoles(desired, actual, version),
    ...planOwnSchema(actual, await schemaFiles(), installed),
    ...planExtensions(actual, version),
    ...planAccess(desired, actual),
    ...planOwnRights(desired, actual, installed === current),
  ];
  return {
    database: actual.databaseName,
    user: actual.user,
    schemaVersion: { installed: installed ?? null, current },
    changes: all.filter((change) => !isBlocked(change)),
    blocked: all.filter(isBlocked),
    warnings: warnings(actual),
  };
}

function warnings({ database, databaseName, publicLogins }: ActualState): string[] {
  const isOpen = database.some((entry) => entry.grantee === everybody && entry.privilege === "CONNECT");
  if (!isOpen || publicLogins.length === 0) return [];
  return [
    `these logins connect to ${databaseName} because PUBLIC may, which ends: ${enumerate(publicLogins, 20)} (put them into one of the groups to keep them)`,
  ];
}

/** Predefined roles that may be granted, or that ours have already from somebody who could grant them. */
function reachable(actual: ActualState, names: RoleNames): string[] {
  const has = (member: string, role: string) =>
    actual.memberships.some((membership) => membership.member === member && membership.role === role);
  return [
    ...actual.grantable,
    ...(has(names.maintenance, "pg_maintain") ? ["pg_maintain"] : []),
    ...(has(schemaOwner, "pg_read_all_data") ? ["pg_read_all_data"] : []),
  ];
}

function requireTheDatabase(session: Session, config: JobConfig): void {
  if (session.database === config.database.name) return;
  throw new PgkeepError(
    "refused",
    `the session is connected to database ${session.database}, the configuration describes ${config.database.name}`,
    { remedy: "connect to that database, or choose another one of the configuration with --database" },
  );
}
