import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { pipeline } from "node:stream/promises";
import { PgkeepError, UsageError } from "../errors.ts";
import type { Session } from "../ports/databases.ts";
import { tryAdvisoryLock } from "../postgres/advisory-lock.ts";
import { identifier, qualified } from "../postgres/identifiers.ts";
import { majorOf } from "../postgres/versions.ts";
import { type Archive, withArchive } from "./archive.ts";
import { clientFailure, committedAtEnd, databaseOption, runClient } from "./client.ts";
import { redirectCopy } from "./copy-header.ts";
import type { Keys } from "./key-file.ts";
import type { DumpedTable, Manifest } from "./manifest.ts";
import { requireSound } from "./sound.ts";
import type { Source } from "./source.ts";
import type { DumpStore } from "./store.ts";
import { type ClientTools, findTools } from "./tools.ts";
import { type ArchiveEntry, listArchive } from "./verify.ts";

export interface RestoreTableRequest {
  store: DumpStore;
  id: string;
  target: Source;
  /** The database to restore into; it exists. */
  into: string;
  table: { schema: string; name: string };
  /** Name of the table beside the original. Default: the table's name and `_restored`. */
  as?: string | undefined;
  noOwner: boolean;
  keys?: Keys | undefined;
  dryRun: boolean;
  signal?: AbortSignal | undefined;
  progress?: (message: string) => void;
}

export interface RestoredTable {
  id: string;
  database: string;
  schema: string;
  /** The table that holds the rows of the backup now. */
  name: string;
  /** `in-place`: the table was gone and is back. `beside`: the original is untouched. */
  how: "in-place" | "beside";
  /** null in a dry run. */
  rows: number | null;
  dryRun: boolean;
}

/**
 * Brings one table back, all or nothing: under its own name with everything that belongs to it when it is gone,
 * else beside the original, made like it (columns, defaults, checks, indexes under names of their own), with
 * the rows of the backup.
 * @throws PgkeepError `not-found`, `refused` with the reason, `backup-invalid`, `restore-failed`
 */
export async function restoreTable(request: RestoreTableRequest): Promise<RestoredTable> {
  const { store, id, target, table, signal } = request;
  const manifest = await requireSound(store, id, signal);
  const dumped = dumpedTable(manifest, table);
  const tool = await findTools(majorOf(manifest.tool.versionNumber), target.tools);
  const session = await target.connect({
    database: request.into,
    statementTimeoutMilliseconds: 0,
    ...(signal === undefined ? {} : { signal }),
  });
  try {
    if (!(await tryAdvisoryLock(session, `restore-table:${table.schema}.${table.name}`))) {
      throw new PgkeepError("refused", `somebody else restores ${table.schema}.${table.name} now`);
    }
    const exists = await relationExists(session, table.schema, table.name);
    const name = exists ? (request.as ?? `${table.name}_restored`) : table.name;
    if (exists) await requireBeside(session, table, name);
    else if (request.as !== undefined) {
      throw new UsageError(
        `${table.schema}.${table.name} is not there: it can only come back under its own name`,
        {
          remedy: "leave --as away",
        },
      );
    }
    if (!request.dryRun) {
      request.progress?.(`restoring ${table.schema}.${name} from ${id}`);
      await withArchive(store, manifest, request.keys, async (archive) => {
        const entries = await listArchive({ tools: target.tools, deep: false, signal }, manifest, archive);
        if (exists) await restoreBeside(request, manifest, archive, entries, dumped, tool, name);
        else await restoreInPlace(request, manifest, archive, entries, dumped, tool);
      });
      await session.query(`analyze ${qualified(table.schema, name)}`);
    }
    const rows = request.dryRun
      ? null
      : ((
          await session.query<{ count: number }>(
            `select count(*) as count from ${qualified(table.schema, name)}`,
          )
        )[0]?.count ?? null);
    return {
      id,
      database: request.into,
      schema: table.schema,
      name,
      how: exists ? "beside" : "in-place",
      rows,
      dryRun: request.dryRun,
    };
  } finally {
    await session.close();
  }
}

function dumpedTable(manifest: Manifest, { schema, name }: { schema: string; name: string }): DumpedTable {
  const found = manifest.tables.find((table) => table.schema === schema && table.name === name);
  if (found === undefined) {
    throw new PgkeepError("not-found", `${manifest.id} does not hold ${schema}.${name}`, {
      remedy: `see what it holds with \`pgkeep dump show ${manifest.id}\``,
    });
  }
  const why =
    found.kind === "partitioned"
      ? "is partitioned: its rows are in its partitions, which can be restored one by one"
      : found.kind !== "table"
        ? `is not a table but a ${found.kind}`
        : manifest.selection.content === "schema"
          ? "was dumped without its rows"
          : manifest.format === "plain"
            ? "is in a plain dump, from which nothing can be picked"
            : undefined;
  if (why === undefined) return found;
  throw new PgkeepError("refused", `${schema}.${name} ${why}`, {
    remedy: "restore the whole backup into a new database with --create, and take the rows from there",
  });
}

async function relationExists(session: Session, schema: string, name: string): Promise<boolean> {
  const rows = await session.query(
    `select from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where n.nspname::text = $1 and c.relname::text = $2`,
    [schema, name],
  );
  return rows.length > 0;
}

async function requireBeside(
  session: Session,
  { schema, name: original }: { schema: string; name: string },
  name: string,
): Promise<void> {
  if (Buffer.byteLength(name) > 63) {
    throw new UsageError(`${name} is longer than PostgreSQL keeps a name`, {
      remedy: "choose a name with --as",
    });
  }
  if (await relationExists(session, schema, name)) {
    throw new PgkeepError("refused", `${schema}.${name} exists already`, {
      remedy: "choose another name with --as, or drop it",
    });
  }
  const [row] = await session.query<{ kind: string }>(
    `select c.relkind::text as kind from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where n.nspname::text = $1 and c.relname::text = $2`,
    [schema, original],
  );
  if (row?.kind === "r") return;
  throw new PgkeepError("refused", `${schema}.${original} is no ordinary table now`, {
    remedy: "restore the whole backup into a new database with --create, and take the rows from there",
  });
}

/** Entries of the archive by what they are of, never by their text alone: names can look like anything. */
function entriesOf(manifest: Manifest, entries: readonly ArchiveEntry[], table: DumpedTable): ArchiveEntry[] {
  const relationOids = new Set([table.oid]);
  for (const { schema, name } of table.sequences) {
    const sequence = manifest.tables.find((each) => each.schema === schema && each.name === name);
    if (sequence !== undefined) relationOids.add(sequence.oid);
  }
  const parts = new Set(table.parts);
  const line = (text: string) => text.replaceAll(/[\r\n]/g, " ");
  const unnumbered = [
    ...table.sequences.flatMap(({ schema, name }) => [
      `SEQUENCE SET ${schema} ${name} `,
      `SEQUENCE OWNED BY ${schema} ${name} `,
      // Rights and comments are listed with the name as SQL, which is quoted where it must be.
      `ACL ${schema} SEQUENCE ${name} `,
      `ACL ${schema} SEQUENCE ${identifier(name)} `,
    ]),
    ...[table.name, identifier(table.name)].flatMap((name) => [
      `ACL ${table.schema} TABLE ${name} `,
      `COMMENT ${table.schema} TABLE ${name} `,
    ]),
    `ROW SECURITY ${table.schema} ${table.name} `,
  ].map(line);
  return entries.filter(({ catalogOid, oid, text }) => {
    if (oid !== 0) return relationOids.has(oid) || (catalogOid !== 0 && parts.has(oid));
    return unnumbered.some((beginning) => text.startsWith(beginning));
  });
}

/** Gives `work` a file that pg_restore takes with --use-list. */
async function withList<T>(entries: readonly ArchiveEntry[], work: (file: string) => Promise<T>): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), "pgkeep-list-"));
  try {
    const file = join(directory, "list");
    await writeFile(file, entries.map(({ dumpId }) => `${dumpId};\n`).join(""), { mode: 0o600 });
    return await work(file);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function restoreInPlace(
  { target, into, noOwner, signal }: RestoreTableRequest,
  manifest: Manifest,
  archive: Archive,
  entries: readonly ArchiveEntry[],
  table: DumpedTable,
  tool: ClientTools,
): Promise<void> {
  await withList(entriesOf(manifest, entries, table), async (list) => {
    try {
      await runClient({
        program: tool.pgRestore,
        args: [
          databaseOption(into),
          "--no-password",
          "--exit-on-error",
          "--single-transaction",
          `--use-list=${list}`,
          ...(noOwner ? ["--no-owner", "--no-privileges"] : []),
          ...(archive.kind === "path" ? [archive.path] : []),
        ],
        login: target.login,
        environment: target.environment,
        ...(archive.kind === "stream" ? { input: await archive.open() } : {}),
        signal,
      });
    } catch (error) {
      throw clientFailure(error, "pg_restore", `restoring ${table.schema}.${table.name}`);
    }
  });
}

/** pg_restore writes the rows as a script; its COPY is turned to the new table, which the same transaction makes. */
async function restoreBeside(
  { target, into, table, signal }: RestoreTableRequest,
  manifest: Manifest,
  archive: Archive,
  entries: readonly ArchiveEntry[],
  dumped: DumpedTable,
  tool: ClientTools,
  name: string,
): Promise<void> {
  const { psql } = tool;
  if (psql === undefined)
    throw new PgkeepError("not-found", `${tool.directory} has no psql, which this needs`);
  const rows = entries.filter(({ oid, text }) => oid === dumped.oid && text.startsWith("TABLE DATA "));
  if (rows.length !== 1) {
    throw new PgkeepError(
      "restore-failed",
      `the archive of ${manifest.id} does not hold the table's rows once`,
    );
  }
  const made = qualified(table.schema, name);
  const redirected = new PassThrough();
  const reading = withList(rows, async (list) =>
    runClient({
      program: tool.pgRestore,
      args: [
        "--data-only",
        `--use-list=${list}`,
        "--file=-",
        ...(archive.kind === "path" ? [archive.path] : []),
      ],
      ...(archive.kind === "stream" ? { input: await archive.open() } : {}),
      output: (stdout) => pipeline(stdout, redirectCopy(made), redirected),
      signal,
    }),
  );
  reading.catch((error: unknown) => redirected.destroy(error as Error));
  const script = async function* () {
    yield `create table ${made} (like ${qualified(table.schema, table.name)} including all);\n`;
    yield* redirected as AsyncIterable<Buffer>;
    // Only its exit code says that these were all rows.
    await reading;
  };
  const writing = runClient({
    program: psql,
    args: [
      databaseOption(into),
      "--no-password",
      "--no-psqlrc",
      "--quiet",
      "--set=ON_ERROR_STOP=1",
      "--output=/dev/null",
    ],
    login: target.login,
    environment: target.environment,
    input: committedAtEnd(script()),
    signal,
  });
  // A psql that ends early leaves pg_restore writing to nobody.
  writing.catch(() => redirected.destroy());
  const [read, written] = await Promise.allSettled([reading, writing]);
  for (const [result, program] of [
    [written, "psql"],
    [read, "pg_restore"],
  ] as const) {
    if (result.status === "fulfilled") continue;
    throw explainBeside(clientFailure(result.reason, program, `restoring ${table.schema}.${name}`), table);
  }
}

function explainBeside(error: unknown, { schema, name }: { schema: string; name: string }): unknown {
  if (
    !(error instanceof PgkeepError) ||
    !/column .* does not exist|generated column|null value in column/i.test(error.message)
  ) {
    return error;
  }
  return new PgkeepError(
    "refused",
    `${schema}.${name} has other columns now than in the backup: ${error.message}`,
    {
      remedy: "restore the whole backup into a new database with --create, and take the rows from there",
      cause: error,
    },
  );
}
