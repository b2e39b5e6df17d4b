import type { Backup } from "../ports/backups.ts";
import type { RetentionPolicy } from "./plan.ts";

const knownStatuses: ReadonlySet<string> = new Set(["creating", "available", "failed", "deleting"]);

/**
 * Why this list must not be pruned, or undefined when it looks right. What it refuses are signs that the
 * list or the clock is not what the rules were made for: then deleting nothing is the only safe answer.
 */
export function whyListLooksWrong(
  backups: readonly Backup[],
  now: Date,
  policy: RetentionPolicy,
): string | undefined {
  if (!isValid(now)) return "the current time is not a valid date";
  for (const [name, least] of [
    ["daily", 1],
    ["weekly", 0],
    ["monthly", 0],
  ] as const) {
    const count = policy[name];
    if (!Number.isInteger(count) || count < least) {
      return `the policy asks for ${String(count)} ${name} backups; it must be a whole number of at least ${least}`;
    }
  }

  const ids = new Set<string>();
  let database: string | undefined;
  let available = 0;
  let failed = 0;
  for (const backup of backups) {
    const { id } = backup;
    if (typeof id !== "string" || id === "") return "the list has an entry without an id";
    if (ids.has(id)) return `the list has ${id} twice`;
    ids.add(id);
    if (typeof backup.managed !== "boolean") return `the list does not say whether pgkeep made ${id}`;
    if (!knownStatuses.has(backup.status))
      return `${id} has the unknown status ${JSON.stringify(backup.status)}`;
    const wrongTime = whyTimesLookWrong(backup, now);
    if (wrongTime !== undefined) return wrongTime;
    if (!backup.managed) continue;
    if (database !== undefined && backup.database !== database) {
      return `the list mixes backups of ${JSON.stringify(database)} and of ${JSON.stringify(backup.database)}`;
    }
    database = backup.database;
    if (backup.status === "available") available++;
    else if (backup.status === "failed") failed++;
  }
  if (available === 0 && failed > 0) return "no usable backup exists, so nothing may be deleted";
  return undefined;
}

function whyTimesLookWrong(backup: Backup, now: Date): string | undefined {
  for (const [name, time] of [
    ["start", backup.startedAt],
    ["end", backup.finishedAt],
    ["verification", backup.verifiedAt],
  ] as const) {
    if (time === undefined && name !== "start") continue;
    if (!isValid(time)) return `${backup.id} has no valid time of its ${name}`;
    if (time.getTime() > now.getTime()) {
      return `the clock says ${now.toISOString()}, which is before the ${name} of ${backup.id} (${time.toISOString()})`;
    }
  }
  if (backup.finishedAt !== undefined && backup.finishedAt.getTime() < backup.startedAt.getTime()) {
    return `${backup.id} ended before it began`;
  }
  return undefined;
}

function isValid(time: unknown): time is Date {
  return time instanceof Date && !Number.isNaN(time.getTime());
}
