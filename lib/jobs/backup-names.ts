import { compactDate } from "../retention/calendar.ts";

/**
 * Name of the scheduled backup of a day (UTC). A trigger that arrives twice, or a retry after a failure, means
 * the same backup and finds it.
 */
export function scheduledBackupId(key: string, at: Date): string {
  return `pgkeep-${key}-${compactDate(at)}`;
}

/** Name of a backup that a person asks for: one for each run, so that it is never taken for the day's. */
export function requestedBackupId(key: string, runId: string): string {
  return `pgkeep-${key}-${runId}`;
}
