import { createHash } from "node:crypto";
import { PgkeepError, UsageError } from "../errors.ts";
import type { Session } from "../ports/databases.ts";
import { tryAdvisoryLock } from "../postgres/advisory-lock.ts";
import { identifier, literal } from "../postgres/identifiers.ts";
import { majorOf, versionText } from "../postgres/versions.ts";
import { countText } from "../words.ts";
import { type Archive, withArchive } from "./archive.ts";
import { readManifest } from "./catalogue.ts";
import { clientFailure, committedAtEnd, databaseOption, runClient } from "./client.ts";
import type { Source } from "./create.ts";
import type { Keys } from "./key-file.ts";
import type { Manifest } from "./manifest.ts";
import type { DumpStore } from "./store.ts";
import { type ClientTools, findTools } from "./tools.ts";
import { checkFiles } from "./verify.ts";

export interface RestoreDumpRequest {
  store: DumpStore;
  id: string;
  /** The server, and a database on it that exists already. */
  target: Source;
  /** The database to restore into. */
  into: string;
  /** Make it; it gets its name only when everything is in it. */
  create: boolean;
  /** Drop what the dump holds before restoring it into a database that is not empty. */
  clean: boolean;
  jobs: number;
  /** Everything belongs to the restoring role, and nothing is granted. */
  noOwner: boolean;
  /** Collect statistics afterwards, without which the first queries are planned badly. */
  analyze: boolean;
  keys?: Keys | undefined;
  dryRun: boolean;
  signal?: AbortSignal | undefined;
  progress?: (message: string) => void;
}

export interface RestoredDump {
  id: string;
  database: string;
  created: boolean;
  /** Whether a failure would have left the database as it was. */
  atomic: boolean;
  jobs: number;
  relations: number;
  seconds: number;
  dryRun: boolean;
}

/** The manifest of a backup whose files are all as they were written. @throws PgkeepError `backup-invalid` */
export async function requireSound(store: DumpStore, id: string, signal?: AbortSignal): Promise<Manifest> {
  const manifest = await readManifest(store, id);
  const { problems } = await checkFiles(store, manifest, signal);
  const [first] = problems;
  if (first === undefined) return manifest;
  throw new PgkeepError(
    "backup-invalid",
    `${id} is damaged: ${first.subject} ${first.problem}${problems.length > 1 ? ` (and ${problems.length - 1} more)` : ""}`,
    { remedy: "restore another backup; `pgkeep dump list` shows them" },
  );
}

/**
 * Restores a whole backup: into a new database, which gets its name when everything is in it, or into an
 * existing one that is empty (or with `clean`).
 * @throws PgkeepError `backup-invalid`, `refused`, `restore-failed`, `insufficient-privilege`
 */
export async function restoreDump(request: RestoreDumpRequest): Promise<RestoredDump> {
  const { store, id, target, signal, progress } = request;
  const began = performance.now();
  progress?.(`checking the files of ${id}`);
  const manifest = await requireSound(store, id, signal);
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

async function databaseExists(session: Session, name: string): Promise<boolean> {
  return (await session.query("select from pg_database where datname::text = $1", [name])).length > 0;
}

type Outcome = Pick<RestoredDump, "atomic" | "jobs">;

/** What a run that was killed leaves is found under this name by the next one, and replaced. */
function provisionalName(into: string): string {
  return `pgkeep_restoring_${createHash("sha256").update(into).digest("hex").slice(0, 16)}`;
}

const provisionalComment = "pgkeep: a restore that has not ended";

async function intoNewDatabase(
  request: RestoreDumpRequest,
  manifest: Manifest,
  tool: ClientTools,
  session: Session,
): Promise<Outcome> {
  const provisional = provisionalName(request.into);
  if (request.dryRun)
    return withArchive(request.store, manifest, request.keys, async (archive) => ({
      atomic: true,
      jobs: usableJobs(manifest, archive, request.jobs),
    }));
  await dropProvisional(session, provisional);
  await session.query(createDatabaseStatement(provisional, manifest, session.serverVersionNumber));
  try {
    await session.query(`comment on database ${identifier(provisional)} is ${literal(provisionalComment)}`);
    const { jobs } = await runRestore(request, manifest, tool, provisional, []);
    await finish(request, manifest, provisional);
    await session.query(`comment on database ${identifier(provisional)} is null`);
    await session.query(`alter database ${identifier(provisional)} rename to ${identifier(request.into)}`);
    return { atomic: true, jobs };
  } catch (error) {
    await cleanUp(request, provisional);
    throw error;
  }
}

/** On a session of its own: the first one may have been cut together with the restore. */
async function cleanUp({ target }: RestoreDumpRequest, provisional: string): Promise<void> {
  try {
    const session = await target.connect();
    try {
      await dropProvisional(session, provisional);
    } finally {
      await session.close();
    }
  } catch {
    // The server is gone: the next restore into this name removes what is left.
  }
}

async function dropProvisional(session: Session, name: string): Promise<void> {
  if (await databaseExists(session, name)) {
    await session.query(`drop database ${identifier(name)} with (force)`);
  }
}

function createDatabaseStatement(name: string, manifest: Manifest, serverVersionNumber: number): string {
  const { encoding, collation, characterType, localeProvider, locale } = manifest;
  const parts = [
    `create database ${identifier(name)} template template0 encoding ${literal(encoding)}`,
    `lc_collate ${literal(collation)} lc_ctype ${literal(characterType)}`,
  ];
  if (localeProvider !== "libc" && serverVersionNumber >= 150_000) {
    parts.push(`locale_provider ${localeProvider}`);
    if (locale !== null)
      parts.push(`${localeProvider === "icu" ? "icu_locale" : "builtin_locale"} ${literal(locale)}`);
  }
  return parts.join(" ");
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

function usableJobs(manifest: Manifest, archive: Archive, wanted: number): number {
  const parallel =
    archive.kind === "path" && (manifest.format === "directory" || manifest.format === "custom");
  return parallel ? wanted : 1;
}

async function runRestore(
  request: RestoreDumpRequest,
  manifest: Manifest,
  tool: ClientTools,
  database: string,
  options: readonly string[],
): Promise<Outcome> {
  const { target, signal, progress } = request;
  return withArchive(request.store, manifest, request.keys, async (archive) => {
    const jobs = usableJobs(manifest, archive, request.jobs);
    const plain = manifest.format === "plain";
    const args = plain
      ? ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--output=/dev/null"]
      : [
          "--exit-on-error",
          ...(request.noOwner ? ["--no-owner", "--no-privileges"] : []),
          ...(jobs > 1 ? [`--jobs=${jobs}`] : ["--single-transaction"]),
          ...options,
        ];
    progress?.(`restoring ${manifest.id}${jobs > 1 ? `, ${jobs} at a time` : ""}`);
    try {
      await runClient({
        program: plain ? (tool.psql as string) : tool.pgRestore,
        args: [
          databaseOption(database),
          "--no-password",
          ...args,
          ...(archive.kind === "path" ? [archive.path] : []),
        ],
        login: target.login,
        environment: target.environment,
        ...(archive.kind === "stream"
          ? { input: plain ? committedAtEnd(await archive.open()) : await archive.open() }
          : {}),
        signal,
      });
    } catch (error) {
      const failure = clientFailure(error, plain ? "psql" : "pg_restore", `restoring ${manifest.id}`);
      if (jobs === 1 || request.create || !(failure instanceof PgkeepError)) throw failure;
      throw new PgkeepError(failure.code, `${failure.message} — ${database} now holds a part of the dump`, {
        remedy: "repeat it with --clean, or restore into a new database with --create",
        cause: failure,
      });
    }
    return { jobs, atomic: jobs === 1 };
  });
}

/** Every relation of the manifest must be there now; then statistics. */
async function finish(request: RestoreDumpRequest, manifest: Manifest, database: string): Promise<void> {
  const session = await request.target.connect({
    database,
    statementTimeoutMilliseconds: 0,
    ...(request.signal ? { signal: request.signal } : {}),
  });
  try {
    const missing = await session.query<{ name: string }>(
      `select s || '.' || t as name from unnest($1::text[], $2::text[]) wanted(s, t)
       where not exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
                         where n.nspname::text = s and c.relname::text = t) limit 6`,
      [manifest.tables.map(({ schema }) => schema), manifest.tables.map(({ name }) => name)],
    );
    if (missing.length > 0) {
      throw new PgkeepError(
        "restore-failed",
        `the restore of ${manifest.id} lacks ${missing.map(({ name }) => name).join(", ")}`,
        { remedy: "verify the backup with `pgkeep dump verify`" },
      );
    }
    if (request.analyze && manifest.selection.content !== "schema") {
      request.progress?.("collecting statistics");
      await session.query("analyze");
    }
  } finally {
    await session.close();
  }
}
