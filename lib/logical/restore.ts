import { PgkeepError, UsageError } from "../errors.ts";
import type { Session } from "../ports/databases.ts";
import { tryAdvisoryLock } from "../postgres/advisory-lock.ts";
import { identifier } from "../postgres/identifiers.ts";
import { majorOf, versionText } from "../postgres/versions.ts";
import { countText } from "../words.ts";
import { withArchive } from "./archive.ts";
import { readManifest } from "./catalogue.ts";
import type { Manifest } from "./manifest.ts";
import { databaseExists, intoNewDatabase } from "./new-database.ts";
import {
  finish,
  type Outcome,
  type RestoreDumpRequest,
  type RestoredDump,
  runRestore,
  usableJobs,
} from "./run-restore.ts";
import { requireSoundFiles } from "./sound.ts";
import { type ClientTools, findTools } from "./tools.ts";

/**
 * Restores a whole backup: into a new database, which gets its name when everything is in it, or into an
 * existing one that is empty (or with `clean`).
 * @throws PgkeepError `backup-invalid`, `refused`, `restore-failed`, `insufficient-privilege`
 */
export async function restoreDump(request: RestoreDumpRequest): Promise<RestoredDump> {
  const { store, id, target, signal, progress } = request;
  const began = performance.now();
  const manifest = await readManifest(store, id);
  if (!request.create || request.dryRun) {
    progress?.(`checking the files of ${id}`);
    await requireSoundFiles(store, manifest, signal);
  }
  const tool = await findTools(majorOf(manifest.tool.versionNumber), target.tools);
  if (manifest.format === "plain" && tool.psql === undefined) {
    throw new PgkeepError("not-found", `a plain dump needs psql, and ${tool.directory} has none`);
  }
  if (request.clean && (manifest.format === "plain" || manifest.selection.content === "data")) {
    throw new UsageError(
      `--clean does not work with a ${manifest.format === "plain" ? "plain" : "data-only"} dump`,
      {
        remedy: "restore into a new database with --create",
      },
    );
  }
  const session = await target.connect({ statementTimeoutMilliseconds: 0, ...(signal ? { signal } : {}) });
  try {
    if (!(await tryAdvisoryLock(session, `restore-dump:${request.into}`))) {
      throw new PgkeepError("refused", `somebody else restores into ${request.into} now`, {
        remedy: "wait until that restore has ended",
      });
    }
    if (session.isStandby) throw new PgkeepError("read-only", `${target.description} is a standby`);
    if (!request.noOwner) await requireRoles(session, manifest);
    if (majorOf(session.serverVersionNumber) < majorOf(manifest.serverVersionNumber)) {
      progress?.(
        `the dump is of PostgreSQL ${versionText(manifest.serverVersionNumber)}, the server is older: what it does not know will fail`,
      );
    }
    const exists = await databaseExists(session, request.into);
    if (request.create && exists) {
      throw new PgkeepError("refused", `the database ${request.into} exists already`, {
        remedy: "choose another name, or leave --create away to restore into it",
      });
    }
    if (!request.create && !exists) {
      throw new PgkeepError("not-found", `there is no database ${request.into}`, {
        remedy: "make it with --create",
      });
    }
    const result = request.create
      ? await intoNewDatabase(request, manifest, tool, session)
      : await intoExistingDatabase(request, manifest, tool);
    return {
      id,
      database: request.into,
      created: request.create,
      relations: manifest.tables.length,
      seconds: Math.round(performance.now() - began) / 1000,
      dryRun: request.dryRun,
      ...result,
    };
  } finally {
    await session.close();
  }
}

async function requireRoles(session: Session, manifest: Manifest): Promise<void> {
  const missing = await session.query<{ name: string }>(
    "select r as name from unnest($1::text[]) r where r not in (select rolname::text from pg_roles) order by 1",
    [manifest.roles],
  );
  if (missing.length === 0) return;
  throw new PgkeepError(
    "refused",
    `${manifest.id} speaks of ${countText(missing.length, "role")} that the server does not have: ${missing
      .map(({ name }) => name)
      .join(", ")}`,
    { remedy: "create them, or restore with --no-owner: then everything belongs to the restoring role" },
  );
}

async function intoExistingDatabase(
  request: RestoreDumpRequest,
  manifest: Manifest,
  tool: ClientTools,
): Promise<Outcome> {
  const session = await request.target.connect({ database: request.into });
  try {
    if (manifest.selection.content === "data") await requireEmptyTables(session, manifest);
    else if (!request.clean) await requireEmptyDatabase(session);
  } finally {
    await session.close();
  }
  const options = request.clean ? ["--clean", "--if-exists"] : [];
  if (request.dryRun) {
    return withArchive(request.store, manifest, request.keys, async (archive) => {
      const jobs = usableJobs(manifest, archive, request.jobs);
      return { jobs, atomic: jobs === 1 };
    });
  }
  const outcome = await runRestore(request, manifest, tool, request.into, options);
  await finish(request, manifest, request.into);
  return outcome;
}

async function requireEmptyDatabase(session: Session): Promise<void> {
  const found = await session.query<{ name: string }>(
    `select n.nspname || '.' || c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and c.relkind in ('r', 'p', 'v', 'm', 'S', 'f')
        and not exists (select from pg_depend e where e.classid = 'pg_class'::regclass and e.objid = c.oid and e.deptype = 'e')
     union all
     select n.nspname || '.' || p.proname || '()' from pg_proc p join pg_namespace n on n.oid = p.pronamespace
      where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
        and not exists (select from pg_depend e where e.classid = 'pg_proc'::regclass and e.objid = p.oid and e.deptype = 'e')
     union all
     select 'schema ' || nspname from pg_namespace n
      where nspname !~ '^pg_' and nspname not in ('information_schema', 'public')
        and not exists (select from pg_depend e where e.classid = 'pg_namespace'::regclass and e.objid = n.oid and e.deptype = 'e')
     order by 1 limit 6`,
  );
  if (found.length === 0) return;
  throw new PgkeepError(
    "refused",
    `the database ${session.database} is not empty: it has ${found
      .slice(0, 5)
      .map(({ name }) => name)
      .join(", ")}${found.length > 5 ? " and more" : ""}`,
    { remedy: "restore into a new database with --create, or replace what the dump holds with --clean" },
  );
}

async function requireEmptyTables(session: Session, manifest: Manifest): Promise<void> {
  for (const { schema, name, kind } of manifest.tables) {
    if (kind !== "table") continue;
    const rows = await session.query(`select from ${identifier(schema)}.${identifier(name)} limit 1`);
    if (rows.length === 0) continue;
    throw new PgkeepError("refused", `${schema}.${name} in ${session.database} has rows already`, {
      remedy: "a data-only dump goes into empty tables: restore the definitions first, into a new database",
    });
  }
}
