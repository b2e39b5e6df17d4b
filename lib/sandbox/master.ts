import type { Session } from "../ports/databases.ts";
import { identifier, literal } from "../postgres/identifiers.ts";
import { majorOf } from "../postgres/versions.ts";
import type { Login } from "./state.ts";

/** What members of `rds_superuser` may do on RDS, and the version that brought each. */
const predefinedRoles: readonly (readonly [name: string, since: number])[] = [
  ["pg_monitor", 14],
  ["pg_signal_backend", 14],
  ["pg_read_all_data", 14],
  ["pg_write_all_data", 14],
  ["pg_checkpoint", 15],
  ["pg_use_reserved_connections", 16],
  ["pg_create_subscription", 16],
  ["pg_maintain", 17],
  ["pg_signal_autovacuum_worker", 18],
];

/** RDS lets rds_superuser create these, plain PostgreSQL wants a superuser: so they exist beforehand. */
const extensions = ["pg_stat_statements", "amcheck", "pgstattuple"] as const;

/**
 * Creates the master user as RDS does: NOSUPERUSER CREATEDB CREATEROLE NOREPLICATION, member of
 * `rds_superuser`, which it shares with every other master of this server.
 */
export async function createMasterUser(superuser: Session, login: Login): Promise<void> {
  const present = await superuser.query("select 1 from pg_roles where rolname = 'rds_superuser'");
  if (present.length === 0) {
    await superuser.query("create role rds_superuser nologin");
    const major = majorOf(superuser.serverVersionNumber);
    const granted = predefinedRoles.filter(([, since]) => since <= major).map(([name]) => name);
    await superuser.query(`grant ${granted.join(", ")} to rds_superuser with admin option`);
  }
  await superuser.query(
    `create role ${identifier(login.user)} login nosuperuser createdb createrole noreplication inherit
     password ${literal(login.password)} in role rds_superuser`,
  );
}

/**
 * Makes the master the owner of the database that `superuser` is connected to, with the extensions that RDS
 * would let it create; their functions are its to grant on.
 */
export async function giveDatabaseToMaster(superuser: Session, master: string): Promise<void> {
  await superuser.query(`alter database ${identifier(superuser.database)} owner to ${identifier(master)}`);
  for (const extension of extensions) {
    await superuser.query(`create extension if not exists ${identifier(extension)} with schema public`);
  }
  const functions = await superuser.query<{ signature: string }>(
    `select p.oid::regprocedure::text as signature
     from pg_depend d join pg_extension e on d.refclassid = 'pg_extension'::regclass and d.refobjid = e.oid
     join pg_proc p on d.classid = 'pg_proc'::regclass and d.objid = p.oid
     where e.extname = any ($1) and d.deptype = 'e'`,
    [[...extensions]],
  );
  for (const { signature } of functions) {
    await superuser.query(`grant execute on function ${signature} to rds_superuser with grant option`);
  }
}
