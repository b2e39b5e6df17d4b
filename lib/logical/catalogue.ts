import { errorMessage, PgkeepError } from "../errors.ts";
import type { Backup } from "../ports/backups.ts";
import {
  type DeleteReason,
  type KeepReason,
  planRetention,
  type RetentionPolicy,
} from "../retention/plan.ts";
import { type Manifest, manifestName, parseManifest } from "./manifest.ts";
import { selectionKey } from "./selection.ts";
import type { DumpStore, StoreEntry } from "./store.ts";

/** What people and verifications add later: `marks.json`. */
interface Marks {
  verifiedAt?: string;
}

const marksName = "marks.json";

/** A logical backup as `pgkeep dump list` shows it. */
export interface ListedDump {
  id: string;
  /** `damaged`: its manifest cannot be believed. `foreign`: not made by pgkeep. */
  state: StoreEntry["state"] | "damaged";
  startedAt: Date;
  manifest: Manifest | null;
  verifiedAt: Date | null;
  /** Why it is damaged. */
  problem: string | null;
  /** Rules that keep it now; empty when pruning would delete it. */
  keptFor: KeepReason[];
}

/** Everything in the store, newest first. */
export async function listDumps(store: DumpStore, policy: RetentionPolicy, now: Date): Promise<ListedDump[]> {
  const entries = await store.list();
  const listed = await Promise.all(entries.map((entry) => describe(store, entry)));
  for (const group of groups(listed)) {
    const plan = planRetention(group.map(asBackup), now, policy);
    for (const { id, reasons } of plan.keep) {
      const dump = group.find((candidate) => candidate.id === id);
      if (dump !== undefined) dump.keptFor = reasons;
    }
  }
  return listed.sort((a, b) => b.startedAt.getTime() - a.startedAt.getTime() || (a.id < b.id ? 1 : -1));
}

async function describe(store: DumpStore, entry: StoreEntry): Promise<ListedDump> {
  const listed: ListedDump = {
    id: entry.id,
    state: entry.state,
    startedAt: entry.since,
    manifest: null,
    verifiedAt: null,
    problem: null,
    keptFor: [],
  };
  if (entry.state !== "complete") return listed;
  try {
    listed.manifest = await readManifest(store, entry.id);
    listed.startedAt = new Date(listed.manifest.startedAt);
    const { verifiedAt } = await readMarks(store, entry.id);
    if (verifiedAt !== undefined) listed.verifiedAt = new Date(verifiedAt);
  } catch (error) {
    listed.state = "damaged";
    listed.problem = errorMessage(error);
  }
  return listed;
}

/** @throws PgkeepError `not-found`, `backup-invalid` */
export async function readManifest(store: DumpStore, id: string): Promise<Manifest> {
  const text = await store.readText(id, manifestName);
  if (text === undefined) {
    throw new PgkeepError("not-found", `there is no logical backup named ${id} in ${store.location}`, {
      remedy: "see the names with `pgkeep dump list`",
    });
  }
  return parseManifest(id, text);
}

async function readMarks(store: DumpStore, id: string): Promise<Marks> {
  const text = await store.readText(id, marksName);
  if (text === undefined) return {};
  try {
    return JSON.parse(text) as Marks;
  } catch {
    return {}; // it says only when the last verification was
  }
}

export async function markVerified(store: DumpStore, id: string, at: Date): Promise<void> {
  await store.writeText(
    id,
    marksName,
    `${JSON.stringify({ verifiedAt: at.toISOString() } satisfies Marks)}\n`,
  );
}

/**
 * The newest whole backup. With `into`, one that is restored into this database: the newest of a database of that
 * name, or of any when all are of one database. @throws PgkeepError `not-found`; `refused` when it would be a guess
 */
export async function newestDump(store: DumpStore, into?: string): Promise<string> {
  const listed = await listDumps(store, { daily: 1, weekly: 0, monthly: 0 }, new Date());
  const whole = listed.filter(({ state }) => state === "complete");
  const databases = [...new Set(whole.map(({ manifest }) => manifest?.database ?? ""))];
  if (into !== undefined && databases.length > 1 && !databases.includes(into)) {
    throw new PgkeepError(
      "refused",
      `${store.location} has backups of ${databases.sort().join(", ")}, and none of ${into}`,
      { remedy: "name the one to restore: see `pgkeep dump list`" },
    );
  }
  const newest = whole.find(
    ({ manifest }) => into === undefined || databases.length === 1 || manifest?.database === into,
  );
  if (newest !== undefined) return newest.id;
  throw new PgkeepError("not-found", `there is no logical backup in ${store.location}`, {
    remedy: "take one with `pgkeep dump create`",
  });
}

/**
 * A dump of one table must not displace the day's dump of everything, nor one server's another's: each kind is
 * counted by itself.
 */
function groups(listed: readonly ListedDump[]): ListedDump[][] {
  const found = new Map<string, ListedDump[]>();
  for (const dump of listed) {
    if (dump.manifest === null) continue;
    const { selection, database, systemIdentifier } = dump.manifest;
    const key = JSON.stringify([selectionKey(selection), database, systemIdentifier ?? null]);
    const group = found.get(key);
    if (group === undefined) found.set(key, [dump]);
    else group.push(dump);
  }
  return [...found.values()];
}

function asBackup({ id, manifest, startedAt, verifiedAt }: ListedDump): Backup {
  return {
    id,
    database: manifest?.database ?? "",
    status: "available",
    startedAt,
    ...(manifest === null
      ? {}
      : { finishedAt: new Date(manifest.finishedAt), sizeBytes: manifest.sizeBytes }),
    managed: true,
    ...(verifiedAt === null ? {} : { verifiedAt }),
  };
}

export interface PrunedDumps {
  kept: number;
  deleted: { id: string; reason: DeleteReason | "interrupted" }[];
  notDeleted: { id: string; reason: string }[];
  /** What the rules no longer want and the store still keeps: not a failure, its turn comes. */
  locked: { id: string; by: string; until: string | null }[];
  /** Why the rules were not applied to some of them. */
  refused: string[];
}

/**
 * Removes what interrupted runs have left and what the rules no longer want, oldest first. What is damaged or
 * not ours stays: only a person may decide about it.
 */
export async function pruneDumps(
  store: DumpStore,
  policy: RetentionPolicy,
  now: Date,
  options: { dryRun: boolean; signal?: AbortSignal | undefined },
): Promise<PrunedDumps> {
  const listed = await listDumps(store, policy, now);
  const pruned: PrunedDumps = { kept: 0, deleted: [], notDeleted: [], locked: [], refused: [] };
  for (const name of await store.sweep({ dryRun: options.dryRun })) {
    pruned.deleted.push({ id: name, reason: "interrupted" });
  }
  for (const group of groups(listed)) {
    const plan = planRetention(group.map(asBackup), now, policy);
    pruned.kept += plan.keep.length;
    if (plan.refused !== undefined) pruned.refused.push(plan.refused);
    for (const { id, reason } of plan.delete) {
      if (options.signal?.aborted === true) {
        pruned.notDeleted.push({ id, reason: "stopped before its turn" });
        continue;
      }
      try {
        const lock = await store.lockOf?.(id);
        if (lock !== undefined) {
          pruned.locked.push({ id, by: lock.by, until: lock.until?.toISOString() ?? null });
          continue;
        }
        if (!options.dryRun) await store.remove(id);
        pruned.deleted.push({ id, reason });
      } catch (error) {
        if (error instanceof PgkeepError && error.code === "not-found") continue;
        pruned.notDeleted.push({ id, reason: errorMessage(error) });
      }
    }
  }
  return pruned;
}
