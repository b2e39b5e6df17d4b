import { UsageError } from "../errors.ts";
import type { RestoreRequest } from "../ports/backups.ts";
import { compactTime } from "../retention/calendar.ts";
import type { GlobalOptions } from "./cli.ts";
import { parseMoment } from "./moment.ts";

export interface RestoreOptions extends GlobalOptions {
  toTime?: string;
  backup?: string;
  latest?: boolean;
  name?: string;
  verify?: boolean;
  discard?: string;
  table?: string;
  where?: string;
  as?: string;
  swap?: boolean;
  keepAs?: string;
  lockWait?: number;
  dryRun?: boolean;
}

/** Which restore the options ask for. @throws UsageError when they contradict each other */
export function restoreRequest(options: RestoreOptions, now: Date): RestoreRequest {
  const name = options.name ?? `restore-${compactTime(now)}`;
  if (options.latest === true && options.toTime !== undefined) {
    throw new UsageError("--latest and --to-time exclude each other");
  }
  const from = options.backup === undefined ? {} : { fromBackupId: options.backup };
  if (options.toTime !== undefined) {
    return { name, target: { kind: "time", time: parseMoment(options.toTime) }, ...from };
  }
  if (options.latest === true) return { name, target: { kind: "latest" }, ...from };
  if (options.backup !== undefined) return { name, target: { kind: "backup", backupId: options.backup } };
  throw new UsageError("nothing says what to restore", {
    remedy: "give --to-time 2026-01-02T03:04:05Z, --backup ID or --latest",
  });
}
