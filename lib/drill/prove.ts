import { errorMessage, PgkeepError } from "../errors.ts";
import type { Json } from "../json.ts";
import type { Session } from "../ports/databases.ts";
import { majorOf, versionText } from "../postgres/versions.ts";
import { proveContents } from "./contents.ts";
import { proveForeignKeys, proveHeaps, proveIndexes, proveSequences } from "./integrity.ts";
import { type Manifest, readManifest, systemIdentifier } from "./manifest.ts";
import { type Proof, ProofCollector } from "./proof.ts";
import { Stretch, type StretchState } from "./stretch.ts";

export interface ProveRequest {
  /** A new session on the restored server. */
  connectRestored(): Promise<Session>;
  /** A new session on the primary, when there is one to ask. */
  connectPrimary?: () => Promise<Session>;
  backupId: string;
  /** Expected name of the database. */
  database: string;
  /** The moment that was asked for; undefined for everything that could be had. */
  targetTime?: Date;
  /** When the restore began. */
  startedAt: Date;
  now(): Date;
  /** How long to wait for statistics of the primary that trail the commits. */
  statisticsPatienceMilliseconds?: number;
  /** Limits; without them nothing is judged by time. */
  maxRtoSeconds?: number;
  maxRpoSeconds?: number;
  signal?: AbortSignal;
  progress?: (message: string) => void;
}

export interface Proved {
  /** Seconds from the start of the restore to the first answered query on the right data; null when none was. */
  rtoSeconds: number | null;
  /** Seconds between the target (the start of the restore, without one) and the newest restored heartbeat. */
  rpoSeconds: number | null;
  proofs: Proof[];
  tablesProved: number;
  notAssessable: string[];
}

/** Proved, or how far it is: another execution with this as `resume` goes on. */
export type ProvedSoFar = { kind: "proved"; proved: Proved } | { kind: "unfinished"; state: StretchState };

export interface StretchRequest extends ProveRequest {
  /** Milliseconds until this execution must end. */
  timeLeft?: () => number;
  /** Milliseconds that all executions together may take; what they do not reach is not assessed. */
  atMostMilliseconds?: number;
  resume?: Json | undefined;
}

/** `proveSoFar` without limits of time. */
export async function prove(request: ProveRequest): Promise<Proved> {
  const result = await proveSoFar(request);
  if (result.kind === "proved") return result.proved;
  request.signal?.throwIfAborted();
  throw new PgkeepError("deadline", "proving the data was interrupted");
}

/**
 * Proves restored data: the right database answers; its tables are what the manifest of its backup says, as
 * far as they were not changed since; every page and index is sound; foreign keys hold; sequences are ahead.
 * Never rejects for what is wrong with the data: that is a proof with `ok: false`. It stops between two objects
 * before its time is over; nothing that was not looked at counts as proved.
 * @throws what `signal` was aborted with
 */
export async function proveSoFar(request: StretchRequest): Promise<ProvedSoFar> {
  const proofs = new ProofCollector();
  const stretch = new Stretch(request, request.resume);
  const proved: Proved = {
    rtoSeconds: null,
    rpoSeconds: null,
    proofs: proofs.proofs,
    tablesProved: 0,
    notAssessable: [],
  };
  let restored: Session | undefined;
  let primary: Session | undefined;
  try {
    restored = await request.connectRestored();
    primary = await connectPrimary(request, proofs);
    await proveAll(request, proofs, proved, stretch, restored, primary);
  } catch (error) {
    if (stretch.wasCut(error)) return { kind: "unfinished", state: stretch.leave() };
    request.signal?.throwIfAborted();
    proofs.add(restored === undefined ? "server-answers" : "completed", false, errorMessage(error));
  } finally {
    await restored?.close();
    await primary?.close();
  }
  proofs.absorb(stretch.looks);
  if (proofs.broken.length > 0) proofs.verdict("readable", proofs.broken.length, proofs.broken, "");
  proved.notAssessable = proofs.allGaps();
  if (!proofs.proofs.some(({ name }) => ["contents", "heap-pages", "indexes"].includes(name))) {
    proofs.add("something-proved", false, "neither contents nor pages nor indexes could be assessed");
  }
  return { kind: "proved", proved };
}

async function connectPrimary(request: ProveRequest, proofs: ProofCollector): Promise<Session | undefined> {
  try {
    return await request.connectPrimary?.();
  } catch (error) {
    request.signal?.throwIfAborted();
    if (!(error instanceof PgkeepError)) throw error;
    proofs.notAssessable(`changes since the backup: the primary cannot be asked (${errorMessage(error)})`);
    return undefined;
  }
}

async function proveAll(
  request: ProveRequest,
  proofs: ProofCollector,
  proved: Proved,
  stretch: Stretch,
  restored: Session,
  primary: Session | undefined,
): Promise<void> {
  const progress = request.progress ?? (() => {});
  await stretch.limit(restored, primary);
  const manifest = await findManifest(request, restored, primary, proofs);
  await proveIdentity(request, restored, primary, manifest, proofs);
  // The right data answered in the first execution, however many there are.
  stretch.state.rtoSeconds ??= seconds(request.now().getTime() - request.startedAt.getTime());
  proved.rtoSeconds = stretch.state.rtoSeconds;
  if (request.maxRtoSeconds !== undefined) {
    const ok = proved.rtoSeconds <= request.maxRtoSeconds;
    proofs.add("recovery-time", ok, `${proved.rtoSeconds} s of at most ${request.maxRtoSeconds} s`);
  }
  proved.rpoSeconds = await measureLoss(request, restored, proofs);
  if (proved.rpoSeconds !== null && request.maxRpoSeconds !== undefined) {
    const ok = proved.rpoSeconds <= request.maxRpoSeconds;
    proofs.add("data-loss", ok, `${proved.rpoSeconds} s of at most ${request.maxRpoSeconds} s`);
  }
  // Pages first: a broken page then has a name before counting rows stumbles over it.
  progress("checking every page");
  await proveHeaps(restored, proofs, stretch);
  progress("checking the indexes");
  await proveIndexes(restored, proofs, stretch);
  if (manifest !== undefined) {
    progress("comparing the tables with the manifest");
    proved.tablesProved = await proveContents({
      manifest,
      restored,
      primary,
      proofs,
      stretch,
      patienceMilliseconds: request.statisticsPatienceMilliseconds ?? 12_000,
      ...(request.signal === undefined ? {} : { signal: request.signal }),
    });
  }
  progress("validating foreign keys and sequences");
  await proveForeignKeys(restored, proofs, stretch);
  await stretch.limit(restored, primary);
  await proveSequences(restored, primary, proofs);
}

/** The primary's copy, when it has one: a restored server cannot vouch for itself. */
async function findManifest(
  request: ProveRequest,
  restored: Session,
  primary: Session | undefined,
  proofs: ProofCollector,
): Promise<Manifest | undefined> {
  const read = (session: Session | undefined, where: string) =>
    session === undefined
      ? Promise.resolve(undefined)
      : proofs.attempt(`manifest of ${request.backupId} on ${where}`, () =>
          readManifest(session, request.backupId),
        );
  const own = await read(restored, "the restored server");
  const known = await read(primary, "the primary");
  if (known !== undefined && own === undefined) {
    proofs.add(
      "manifest",
      false,
      `the restored database has no manifest of the backup ${request.backupId}, although it was written before that began`,
    );
  } else if (own !== undefined) {
    proofs.add("manifest", true, `taken ${own.takenAt}, ${own.tables.length} tables`);
  } else {
    proofs.notAssessable(`contents: the backup ${request.backupId} has no manifest`);
  }
  return known ?? own;
}

async function proveIdentity(
  request: ProveRequest,
  restored: Session,
  primary: Session | undefined,
  manifest: Manifest | undefined,
  proofs: ProofCollector,
): Promise<void> {
  const [row] = await restored.query<{ recovering: boolean }>("select pg_is_in_recovery() as recovering");
  proofs.add(
    "server-answers",
    row?.recovering === false,
    row?.recovering === false
      ? `PostgreSQL ${versionText(restored.serverVersionNumber)} is open for writing`
      : "the restored server is still in recovery",
  );
  const wrong: string[] = [];
  const mine = await systemIdentifier(restored);
  const others: [string, string | null | undefined][] = [
    ["the primary", primary === undefined ? undefined : await systemIdentifier(primary)],
    ["the manifest", manifest?.systemIdentifier],
  ];
  for (const [whose, theirs] of others) {
    if (mine !== null && theirs != null && mine !== theirs) {
      wrong.push(`the cluster is ${mine}, and that of ${whose} is ${theirs}`);
    }
  }
  if (restored.database !== request.database) {
    wrong.push(
      `the database is ${JSON.stringify(restored.database)} instead of ${JSON.stringify(request.database)}`,
    );
  }
  if (manifest !== undefined && manifest.database !== restored.database) {
    wrong.push(`the manifest is of the database ${JSON.stringify(manifest.database)}`);
  }
  if (
    manifest !== undefined &&
    majorOf(manifest.serverVersionNumber) !== majorOf(restored.serverVersionNumber)
  ) {
    wrong.push(`the manifest is of PostgreSQL ${versionText(manifest.serverVersionNumber)}`);
  }
  proofs.add(
    "right-database",
    wrong.length === 0,
    wrong.length === 0 ? `${request.database} of cluster ${mine ?? "(not visible)"}` : wrong.join("; "),
  );
}

async function measureLoss(
  request: ProveRequest,
  restored: Session,
  proofs: ProofCollector,
): Promise<number | null> {
  const rows = await proofs.attempt("heartbeat", () =>
    restored.query<{ at: Date | null }>("select max(at) as at from pgkeep.heartbeat"),
  );
  if (rows === undefined) return null;
  const at = rows[0]?.at;
  if (at == null) {
    proofs.notAssessable("data loss: no heartbeat was restored (the job check-health writes it)");
    return null;
  }
  const until = request.targetTime ?? request.startedAt;
  return Math.max(0, seconds(until.getTime() - at.getTime()));
}

function seconds(milliseconds: number): number {
  return Math.round(milliseconds) / 1000;
}
