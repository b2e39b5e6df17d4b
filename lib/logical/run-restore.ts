import { PgkeepError } from "../errors.ts";
import { type Archive, withArchive } from "./archive.ts";
import { clientFailure, committedAtEnd, databaseOption, runClient } from "./client.ts";
import type { Keys } from "./key-file.ts";
import type { Manifest } from "./manifest.ts";
import type { Source } from "./source.ts";
import type { DumpStore } from "./store.ts";
import type { ClientTools } from "./tools.ts";

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

export type Outcome = Pick<RestoredDump, "atomic" | "jobs">;

/** How many at a time the archive allows. */
export function usableJobs(manifest: Manifest, archive: Archive, wanted: number): number {
  const parallel =
    archive.kind === "path" && (manifest.format === "directory" || manifest.format === "custom");
  return parallel ? wanted : 1;
}

/** pg_restore, or psql for a plain dump. @throws PgkeepError */
export async function runRestore(
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
export async function finish(
  request: RestoreDumpRequest,
  manifest: Manifest,
  database: string,
): Promise<void> {
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
