import type { JobConfig } from "../config/schema.ts";
import { type RoleNames, roleNames, schemaOwner } from "./role-names.ts";

/** Stands for PUBLIC in lists of grantees; no role can have an empty name. */
export const everybody = "";

/** Privileges by grantee. A managed role that is not named has none. */
export type Rights = Readonly<Record<string, readonly string[]>>;

export interface DesiredRole {
  name: string;
  login: boolean;
  /** The role's comment begins with it, which also marks the role as pgkeep's own. */
  purpose: string;
  connectionLimit: number;
  /** `ALTER ROLE … SET`, wherever the role logs in. */
  settings: Readonly<Record<string, string>>;
  /** `ALTER ROLE … IN DATABASE … SET`. */
  databaseSettings: Readonly<Record<string, string>>;
  /** Roles that this one is a member of. */
  memberOf: readonly string[];
}

/** What the server lets the installing user give away; decides between two ways to the same end. */
export interface Possibilities {
  /** Predefined roles that exist here and that the installing user may grant. */
  grantable: ReadonlySet<string>;
  /** Roles that get a password, and so no IAM login. */
  withPassword: ReadonlySet<string>;
}

export interface DesiredState {
  names: RoleNames;
  roles: readonly DesiredRole[];
  /** On the database itself. */
  database: Rights;
  /** On every schema of the application, `public` included. */
  schemas: Rights;
  /** On every table, view, materialised view and foreign table in them. */
  tables: Rights;
  sequences: Rights;
  /** On schemas that hold pgkeep's extensions, beyond the rights above. */
  extensionSchemas: Rights;
  /** On schema pgkeep, its tables and its functions. */
  ownSchema: Rights;
  ownTables: Readonly<Record<string, Rights>>;
  ownFunctions: Readonly<Record<string, Rights>>;
}

/** Comments of roles that pgkeep made begin with this. */
export const roleMark = "pgkeep: ";

/** Ends the comment of a login that has a password, so that nobody turns it into an IAM login. */
export const passwordMark = "; logs in with a password";

/** Extensions that jobs and checks use where they can be had. */
export const extensions: readonly string[] = ["amcheck", "pg_stat_statements", "pgstattuple"];

const historyTables = [
  "history_day",
  "history_table",
  "history_table_before",
  "history_statement",
  "history_statement_text",
];

const seconds = (value: number) => `${value}s`;

/** What should be true of a database, from its configuration alone. */
export function desiredState(config: JobConfig, possible: Possibilities): DesiredState {
  const names = roleNames(config);
  const { owner, writer, reader, monitoring, maintenance, drill } = names;
  const reads = ["SELECT"];
  const writes = ["SELECT", "INSERT", "UPDATE", "DELETE"];
  return {
    names,
    roles: desiredRoles(config, names, possible),
    database: {
      [owner]: ["CONNECT", "CREATE", "TEMPORARY"],
      [writer]: ["CONNECT", "TEMPORARY"],
      [reader]: ["CONNECT"],
      [monitoring]: ["CONNECT"],
      [maintenance]: ["CONNECT"],
      [drill]: ["CONNECT"],
    },
    schemas: {
      [owner]: ["CREATE", "USAGE"],
      [writer]: ["USAGE"],
      [reader]: ["USAGE"],
      [maintenance]: ["USAGE"],
    },
    tables: { [writer]: writes, [reader]: reads },
    sequences: { [writer]: ["SELECT", "USAGE"], [reader]: reads },
    extensionSchemas: { [monitoring]: ["USAGE"] },
    ownSchema: { [monitoring]: ["USAGE"], [maintenance]: ["USAGE"], [drill]: ["USAGE"] },
    ownTables: {
      schema_version: { [monitoring]: reads, [maintenance]: reads, [drill]: reads },
      heartbeat: { [monitoring]: ["SELECT", "INSERT", "UPDATE"], [maintenance]: reads, [drill]: reads },
      job_run: { [monitoring]: writes, [maintenance]: writes },
      backup_manifest: { [monitoring]: writes, [drill]: reads },
      index_rebuild: { [monitoring]: reads, [maintenance]: writes },
      integrity_look: { [monitoring]: writes },
      review_report: { [monitoring]: writes },
      ...Object.fromEntries(
        historyTables.map((table) => [table, { [monitoring]: writes, [maintenance]: reads }]),
      ),
      vacuum_handover: { [monitoring]: reads, [maintenance]: writes },
    },
    ownFunctions: {
      "scan_source(regclass)": {},
      "amcheck_schema(text)": {},
      "drop_index_leftover(oid)": { [maintenance]: ["EXECUTE"] },
      "orphan_source(oid)": {},
      "row_key(regclass, text)": {},
      ...Object.fromEntries(
        [
          "check_heap_blocks(regclass, bigint, bigint)",
          "constraint_violations(oid, integer)",
          "reference_orphans(regclass, smallint, regclass, integer)",
          "values_outside_enum(regclass, smallint, regtype, integer)",
        ].map((signature) => [signature, { [monitoring]: ["EXECUTE"] }]),
      ),
      "sequence_positions(oid[])": { [monitoring]: ["EXECUTE"] },
      "set_autovacuum(oid, jsonb)": { [maintenance]: ["EXECUTE"] },
      ...Object.fromEntries(
        [
          "table_rows(regclass)",
          "table_hash(regclass)",
          "check_heap(regclass)",
          "check_index(regclass)",
          "validate_foreign_key(oid)",
          "sequence_state(regclass)",
        ].map((signature) => [signature, { [monitoring]: ["EXECUTE"], [drill]: ["EXECUTE"] }]),
      ),
    },
  };
}

function desiredRoles(config: JobConfig, names: RoleNames, possible: Possibilities): DesiredRole[] {
  const { application, reporting, migrations } = config.roles;
  const of = `of database ${config.database.name}`;
  const group = (name: string, purpose: string, memberOf: string[] = []): DesiredRole => ({
    name,
    login: false,
    purpose: `${roleMark}${purpose}`,
    connectionLimit: -1,
    settings: {},
    databaseSettings: {},
    memberOf,
  });
  const login = (
    name: string,
    purpose: string,
    memberOf: string[],
    rest: Partial<Pick<DesiredRole, "connectionLimit" | "settings" | "databaseSettings">>,
  ): DesiredRole => ({
    ...group(name, purpose, [
      ...memberOf,
      ...(possible.grantable.has("rds_iam") && !possible.withPassword.has(name) ? ["rds_iam"] : []),
    ]),
    ...rest,
    login: true,
  });
  // Before 17 only owners may VACUUM and REINDEX; from then on pg_maintain allows that and nothing else.
  const maintains = possible.grantable.has("pg_maintain") ? "pg_maintain" : names.owner;
  // Partitions are attached and detached by owners only.
  const maintainers = [
    ...new Set([maintains, ...(config.partitions.tables.length > 0 ? [names.owner] : [])]),
  ];
  const readsEverything = possible.grantable.has("pg_read_all_data") ? "pg_read_all_data" : names.reader;
  // From 16 on; useful where reserved_connections is set: the watcher gets in when the application took the rest.
  const getsIn = possible.grantable.has("pg_use_reserved_connections") ? ["pg_use_reserved_connections"] : [];
  const ownJobs = { lock_timeout: seconds(5), idle_in_transaction_session_timeout: seconds(60) };
  return [
    group(names.owner, `owner ${of}`),
    group(names.writer, `reads and writes rows ${of}`),
    group(names.reader, `reads rows ${of}`),
    group(schemaOwner, "owns schema pgkeep, whose functions run with its rights", [
      readsEverything,
      // Its functions drop what rebuilds leave and set autovacuum for the maintenance role, which from 17 on is no
      // owner, and count rows that row security hides from whoever does not own them.
      names.owner,
    ]),
    login(names.app, `application ${of}`, [names.writer], {
      connectionLimit: application.connectionLimit,
      settings: {
        statement_timeout: seconds(application.statementTimeoutSeconds),
        lock_timeout: seconds(application.lockTimeoutSeconds),
        idle_in_transaction_session_timeout: seconds(application.idleInTransactionTimeoutSeconds),
      },
    }),
    login(names.reporting, `reports ${of}`, [names.reader], {
      connectionLimit: reporting.connectionLimit,
      settings: {
        statement_timeout: seconds(reporting.statementTimeoutSeconds),
        lock_timeout: seconds(reporting.lockTimeoutSeconds),
        idle_in_transaction_session_timeout: seconds(reporting.idleInTransactionTimeoutSeconds),
        default_transaction_read_only: "on",
      },
    }),
    login(names.migrations, `schema changes ${of}`, [names.owner], {
      settings: {
        lock_timeout: seconds(migrations.lockTimeoutSeconds),
        idle_in_transaction_session_timeout: seconds(migrations.idleInTransactionTimeoutSeconds),
      },
      // What it creates belongs to the owner, not to itself.
      databaseSettings: { role: names.owner },
    }),
    login(names.monitoring, "watches, and records what jobs did", ["pg_monitor", ...getsIn], {
      settings: { ...ownJobs, statement_timeout: seconds(30) },
    }),
    login(names.maintenance, "vacuums and rebuilds indexes", ["pg_monitor", ...maintainers], {
      settings: ownJobs,
    }),
    login(names.drill, "proves restored data through functions of schema pgkeep", [], {
      connectionLimit: 10,
      settings: { ...ownJobs, default_transaction_read_only: "on" },
    }),
  ];
}

/** Names of every role that `desiredState` lists. */
export function managedRoles(config: JobConfig): string[] {
  return [...Object.values(roleNames(config)), schemaOwner];
}
