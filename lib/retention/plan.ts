import type { Backup } from "../ports/backups.ts";
import { isoWeek, utcDay, utcMonth } from "./calendar.ts";
import { whyListLooksWrong } from "./sanity.ts";

/** How many backups of each period are kept: the newest usable one of each of the last N that have one. */
export interface RetentionPolicy {
  daily: number;
  weekly: number;
  monthly: number;
  /** Where moments are recovered from these backups: how many days back each moment must be restorable. */
  recoveryDays?: number;
}

export type KeepReason =
  | "daily"
  | "weekly"
  | "monthly"
  | "newest-available"
  | "newest-verified"
  /** Recovery to the earliest moments of the window starts from it. */
  | "point-in-time"
  | "pinned"
  | "unmanaged"
  | "creating"
  | "deleting"
  /** Failed less than a day ago, so that somebody can look at it. */
  | "failed-recently"
  /** Failed, and nothing newer is usable. */
  | "failed-without-newer"
  /** The list looks wrong, so everything stays. */
  | "refused";

export type DeleteReason =
  /** No rule wants it any more. */
  | "expired"
  /** It failed, and a newer usable one exists. */
  | "failed";

export interface RetentionPlan {
  /** Every backup that stays, newest first. */
  keep: { id: string; reasons: KeepReason[] }[];
  /** What may be deleted, oldest first. */
  delete: { id: string; reason: DeleteReason }[];
  /** Why nothing is deleted although the rules might want to. */
  refused?: string;
}

const failedGraceMilliseconds = 86_400_000;

/**
 * Decides which backups to keep. Pure; periods are UTC days, ISO weeks and months, and a period without a
 * usable backup does not count, so a pause in backing up never shortens the history.
 *
 * Never deletes the newest available backup, the newest verified one, a pinned, unmanaged or unfinished one;
 * deletes nothing and says why in `refused` when the list looks wrong. Takes n log n time.
 */
export function planRetention(backups: readonly Backup[], now: Date, policy: RetentionPolicy): RetentionPlan {
  const refused = whyListLooksWrong(backups, now, policy);
  if (refused !== undefined) {
    return { keep: backups.map(({ id }) => ({ id, reasons: ["refused"] })), delete: [], refused };
  }
  const sorted = [...backups].sort(newestFirst);
  const usable = sorted.filter((backup) => backup.managed && backup.status === "available");
  const reasons = new Map<string, KeepReason[]>();
  const keep = (backup: Backup | undefined, reason: KeepReason) => {
    if (backup === undefined) return;
    const known = reasons.get(backup.id);
    if (known === undefined) reasons.set(backup.id, [reason]);
    else known.push(reason);
  };

  for (const [reason, period, count] of [
    ["daily", utcDay, policy.daily],
    ["weekly", isoWeek, policy.weekly],
    ["monthly", utcMonth, policy.monthly],
  ] as const) {
    for (const backup of newestOfEach(usable, period, count)) keep(backup, reason);
  }
  keep(usable[0], "newest-available");
  keep(
    usable.find((backup) => backup.verifiedAt !== undefined),
    "newest-verified",
  );

  keep(recoveryBase(usable, now, policy.recoveryDays), "point-in-time");

  const newestUsable = usable[0]?.startedAt.getTime() ?? Number.NEGATIVE_INFINITY;
  for (const backup of sorted) {
    if (backup.pinned !== undefined) keep(backup, "pinned");
    if (!backup.managed) keep(backup, "unmanaged");
    else if (backup.status === "creating") keep(backup, "creating");
    else if (backup.status === "deleting") keep(backup, "deleting");
    else if (backup.status === "failed") {
      if (now.getTime() - backup.startedAt.getTime() <= failedGraceMilliseconds)
        keep(backup, "failed-recently");
      else if (backup.startedAt.getTime() >= newestUsable) keep(backup, "failed-without-newer");
    }
  }

  const plan: RetentionPlan = { keep: [], delete: [] };
  for (const backup of sorted) {
    const why = reasons.get(backup.id);
    if (why !== undefined) plan.keep.push({ id: backup.id, reasons: why });
    else plan.delete.push({ id: backup.id, reason: backup.status === "failed" ? "failed" : "expired" });
  }
  plan.delete.reverse();
  return plan;
}

/**
 * The backup from which every moment of the last `days` can be recovered: the newest that was complete before
 * them, else the oldest there is. `usable` is newest first.
 */
export function recoveryBase(
  usable: readonly Backup[],
  now: Date,
  days: number | undefined,
): Backup | undefined {
  if (days === undefined) return undefined;
  const earliest = now.getTime() - days * 86_400_000;
  const complete = ({ finishedAt, startedAt }: Backup) => (finishedAt ?? startedAt).getTime();
  return usable.find((backup) => complete(backup) <= earliest) ?? usable.at(-1);
}

/** Ties in time are broken by the id, so that the order of the list never matters. */
function newestFirst(a: Backup, b: Backup): number {
  const difference = b.startedAt.getTime() - a.startedAt.getTime();
  if (difference !== 0) return difference;
  return a.id < b.id ? 1 : a.id > b.id ? -1 : 0;
}

/** The first backup of each of the first `count` periods; `sorted` is newest first. */
function newestOfEach(sorted: readonly Backup[], period: (time: Date) => number, count: number): Backup[] {
  const chosen: Backup[] = [];
  let last: number | undefined;
  for (const backup of sorted) {
    if (chosen.length >= count) break;
    const current = period(backup.startedAt);
    if (current === last) continue;
    last = current;
    chosen.push(backup);
  }
  return chosen;
}
