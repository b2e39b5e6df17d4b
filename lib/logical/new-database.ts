import { createHash } from "node:crypto";
import type { Session } from "../ports/databases.ts";
import { identifier, literal } from "../postgres/identifiers.ts";
import { withArchive } from "./archive.ts";
import type { Manifest } from "./manifest.ts";
import { finish, type Outcome, type RestoreDumpRequest, runRestore, usableJobs } from "./run-restore.ts";
import { requireSoundFiles } from "./sound.ts";
import type { ClientTools } from "./tools.ts";

export async function databaseExists(session: Session, name: string): Promise<boolean> {
  return (await session.query("select from pg_database where datname::text = $1", [name])).length > 0;
}

/** What a run that was killed leaves is found under this name by the next one, and replaced. */
function provisionalName(into: string): string {
  return `pgkeep_restoring_${createHash("sha256").update(into).digest("hex").slice(0, 16)}`;
}

const provisionalComment = "pgkeep: a restore that has not ended";

/** Restores under a provisional name; the database gets its own when everything is in it. */
export async function intoNewDatabase(
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
    const jobs = await restoreAndCheck(request, manifest, tool, provisional);
    await finish(request, manifest, provisional);
    await session.query(`comment on database ${identifier(provisional)} is null`);
    await session.query(`alter database ${identifier(provisional)} rename to ${identifier(request.into)}`);
    return { atomic: true, jobs };
  } catch (error) {
    await cleanUp(request, provisional);
    throw error;
  }
}

/**
 * Checks the files while they are restored: nobody sees the database before both are done, and damage is told
 * as such, not as what it makes pg_restore stumble over.
 */
async function restoreAndCheck(
  request: RestoreDumpRequest,
  manifest: Manifest,
  tool: ClientTools,
  provisional: string,
): Promise<number> {
  const stop = new AbortController();
  const signal = request.signal === undefined ? stop.signal : AbortSignal.any([request.signal, stop.signal]);
  const checking = requireSoundFiles(request.store, manifest, signal).catch((error: unknown) => {
    stop.abort(error);
    throw error;
  });
  const [checked, restored] = await Promise.allSettled([
    checking,
    runRestore({ ...request, signal }, manifest, tool, provisional, []),
  ]);
  if (checked.status === "rejected") throw checked.reason;
  if (restored.status === "rejected") throw restored.reason;
  return restored.value.jobs;
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
