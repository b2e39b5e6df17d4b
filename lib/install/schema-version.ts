import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { PgkeepError } from "../errors.ts";
import { packageRoot } from "../package-root.ts";
import type { Session } from "../ports/databases.ts";

/** One file of `sql/install`; its number is the version that the schema has afterwards. */
export interface SchemaFile {
  version: number;
  name: string;
  sql: string;
}

let files: Promise<SchemaFile[]> | undefined;

/** The files that make schema `pgkeep`, oldest first. */
export function schemaFiles(): Promise<SchemaFile[]> {
  files ??= readSchemaFiles();
  return files;
}

async function readSchemaFiles(): Promise<SchemaFile[]> {
  const directory = join(packageRoot, "sql", "install");
  const names = (await readdir(directory)).filter((name) => /^\d{3}-.*\.sql$/.test(name)).sort();
  return Promise.all(
    names.map(async (name) => ({
      version: Number(name.slice(0, 3)),
      name,
      sql: await readFile(join(directory, name), "utf8"),
    })),
  );
}

/** The schema version that this pgkeep installs. */
export async function currentSchemaVersion(): Promise<number> {
  return (await schemaFiles()).at(-1)?.version ?? 0;
}

/**
 * The version of schema `pgkeep` in this database, or undefined when it is not installed.
 * @throws PgkeepError `newer-schema` when a newer pgkeep installed it, `insufficient-privilege`
 */
export async function readSchemaVersion(session: Session): Promise<number | undefined> {
  const present = await session.query<{ present: boolean }>(
    `select exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
       where n.nspname = 'pgkeep' and c.relname = 'schema_version') as present`,
  );
  if (present[0]?.present !== true) return undefined;
  const rows = await session.query<{ version: number | null }>(
    "select max(version) as version from pgkeep.schema_version",
  );
  const version = rows[0]?.version ?? 0;
  const known = await currentSchemaVersion();
  if (version > known) {
    throw new PgkeepError(
      "newer-schema",
      `database ${session.database} has schema pgkeep in version ${version}; this pgkeep knows versions up to ${known}`,
      { remedy: "use the pgkeep that installed it, or a newer one; nothing was changed" },
    );
  }
  return version;
}

/**
 * Makes sure that jobs find what they need.
 * @throws PgkeepError `not-installed` when there is no or an older schema, `newer-schema`
 */
export async function requireSchema(session: Session): Promise<void> {
  const version = await readSchemaVersion(session);
  const known = await currentSchemaVersion();
  if (version === known) return;
  throw new PgkeepError(
    "not-installed",
    version === undefined
      ? `database ${session.database} has no schema pgkeep`
      : `database ${session.database} has schema pgkeep in version ${version}, this pgkeep needs ${known}`,
    { remedy: "run `pgkeep install` as the master user" },
  );
}
