import { createHash } from "node:crypto";
import type { JobConfig } from "../config/schema.ts";
import { UsageError } from "../errors.ts";
import type { DatabaseRole } from "../ports/databases.ts";

/** Longest name that PostgreSQL keeps whole, in bytes. */
const identifierBytes = 63;

/** Every role that pgkeep manages, by what it is for. */
export interface RoleNames {
  /** NOLOGIN: owns the application's objects. */
  owner: string;
  /** NOLOGIN group: reads and writes rows. */
  writer: string;
  /** NOLOGIN group: reads rows. */
  reader: string;
  /** The application's login, in `writer`. */
  app: string;
  /** The login for reports, in `reader`, read-only by default. */
  reporting: string;
  /** The login for schema changes; acts as `owner`. */
  migrations: string;
  /** Logins of pgkeep's own jobs, one of each for the whole server. */
  monitoring: string;
  maintenance: string;
  drill: string;
}

/** The login of pgkeep's jobs for each identity of a step, one of each for the whole server. */
export const jobRoleNames: Readonly<Record<DatabaseRole, string>> = {
  monitoring: "pgkeep_monitoring",
  maintenance: "pgkeep_maintenance",
  drill: "pgkeep_drill",
};

/** NOLOGIN owner of schema `pgkeep`, one for the whole server; its functions run with its rights. */
export const schemaOwner = "pgkeep";

/**
 * Names of the roles for one database: the prefix (`roles.prefix`, else the database's name) and what each is
 * for. A prefix too long for the suffix is cut and gets a digest, so that two long names stay apart.
 * @throws UsageError when the prefix begins with `pg_`, which PostgreSQL reserves
 */
export function roleNames(config: JobConfig): RoleNames {
  const prefix = config.roles.prefix ?? config.database.name;
  if (prefix.startsWith("pg_")) {
    throw new UsageError(
      `roles cannot be called ${JSON.stringify(`${prefix}_…`)}: PostgreSQL reserves names that begin with pg_`,
      { remedy: "set roles.prefix in the configuration to something else" },
      "configuration",
    );
  }
  const name = (suffix: string) => fitted(prefix, `_${suffix}`);
  return {
    owner: name("owner"),
    writer: name("writer"),
    reader: name("reader"),
    app: name("app"),
    reporting: name("reporting"),
    migrations: name("migrations"),
    ...jobRoleNames,
  };
}

function fitted(prefix: string, suffix: string): string {
  if (Buffer.byteLength(prefix + suffix) <= identifierBytes) return prefix + suffix;
  const digest = `_${createHash("sha256").update(prefix).digest("hex").slice(0, 8)}`;
  const room = identifierBytes - Buffer.byteLength(digest + suffix);
  let cut = "";
  for (const character of prefix) {
    if (Buffer.byteLength(cut + character) > room) break;
    cut += character;
  }
  return cut + digest + suffix;
}
