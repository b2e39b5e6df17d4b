/** What is known of the fault besides what the commands print. */
export interface Surroundings {
  /** When the fault was applied, by the real clock. */
  since: Date;
}

export type Expectation = RegExp | ((output: string, surroundings: Surroundings) => boolean);

/** Entries whose commands may end with 3: the database, a pooler or a job is what cannot do its work. */
export const mayFail: ReadonlySet<string> = new Set(["database-down", "proxy-unavailable", "job-failed"]);

/** Entries whose fault no command that runs here can show, with where it is shown. */
export const shownElsewhere: Readonly<Record<string, string>> = {
  "failed-logins": "in the log that RDS exports, which `aws logs` reads; the sandbox's is a file",
};

/** Entries whose commands print the same without the fault, only more of it: with what has to be compared. */
export const alwaysShown: Readonly<Record<string, string>> = {
  "drill-absent": "in the sandbox of the drills none has run before either",
  "job-overdue": "in the sandbox of the drills vacuum has not run before either",
  "free-storage": "sizes of databases, WAL and temporary files; how much is free is AWS's number alone",
};

/** The health check that has a finding, where it is not the first that the entry's alarm looks at. */
export const finds: Readonly<Record<string, string>> = {
  "connections-used": "connections",
  "database-connections": "connections",
};

/**
 * What the commands of a section have to print while its fault is on. For entries that are not here, the health check
 * that their alarm looks at first has a finding.
 */
export const shows: Readonly<Record<string, Expectation>> = {
  "database-down": /cannot reach .*ECONNREFUSED[\s\S]*primary +unreachable/,
  "health-check-absent": (output, { since }) => lastSuccess(output) < since,
  "heartbeat-late": /"read_only":"on"/,
  "proxy-unavailable": /pgkeep: primary: cannot reach/,
  "replication-stopped": /replica-1 .*receives no WAL stream[\s\S]*"slot_name":"replica_1","active":false/,
  "replica-lag": /replica-1 +(?:unreachable|lagging) .*(?:cannot reach|its replay is paused)/,
  "replica-not-serving": /replica-1 +lagging .* 0 % .*it is behind by/,
  // How much is free is AWS's number; what takes the room is what the section's SQL says.
  "free-storage": /"datname":"shop","size":"\d+ [kMG]B"[\s\S]*"wal":"\d+ MB"/,
  "storage-ceiling": /database "shop" has 500 GiB, 100 % of what the configuration lets it grow to/,
  "freeable-memory": /"application_name":"pgkeep fault hog-memory","state":"idle"/,
  "prepared-transactions": /"gid":"pgkeep fault forget-prepared-transaction"/,
  "temporary-files": /"query":"select count\(\*\) from \(.*"|"temp_files":[1-9]/,
  "old-transaction": /"state":"active",.*"query":"select pg_sleep\(86400\)"/,
  "slot-disk-usage": /"slot_name":"pgkeep_fault_stalled","spill_txns":[1-9]\d*,"spilled":"\d+ MB"/,
  "transaction-logs-disk": (output) => /"wal":"1\d\d MB"/.test(output) && failsToArchive(output),
  "proxy-connections-used": /pool-saturated[\s\S]*Waiting clients[\s\S]*pgkeep fault saturate-pooler/,
  "proxy-borrow-latency": /pool-saturated[\s\S]*Waiting clients[\s\S]*pgkeep fault saturate-pooler/,
  rollbacks: (output) => Number(/"xact_rollback":(\d+)/.exec(output)?.[1]) > 1_000,
  "cpu-high": /sessions busy[\s\S]*"query":"select sum\(sqrt\(/,
  "db-load": /"query":"select sum\(sqrt\([\s\S]*"query":"select sum\(sqrt\([\s\S]*sessions busy/,
  "checkpoint-storm": (output) =>
    metric(output, "checkpoints_requested") > 3 * metric(output, "checkpoints_timed") &&
    /"name":"max_wal_size","setting":"8","unit":"MB"/.test(output),
  "key-forecast": /shop\.categories\.id: ends in 0 days/,
  "storage-forecast": /storage: ends in \d/,
  "transaction-ids-forecast": /transaction ids: ends in \d/,
  "corrupt-objects": /"checksum_failures":[1-9]/,
  "backup-failed": /"outcome":"failed","reason":"the place for backups takes no new backup/,
  "backup-late": /the newest of .* \((?:[2-9]|\d\d+) d /,
  // Its schedule may have come meanwhile, before somebody reads this.
  "backup-absent": (output) =>
    lastSuccess(output) < daysAgo(30) || /"outcome":"failed","reason":"the place for backups/.test(output),
  "restorable-lag": failsToArchive,
  "drill-failed": /"outcome":"failed","reason":"the backup .* is damaged: .*the checksum differs/,
  "drill-absent": (output) => lastSuccess(output) < daysAgo(30),
  "job-failed": /vacuum: failed[\s\S]*role "pgkeep_maintenance" is not permitted to log in/,
  "job-absent": (output, { since }) =>
    /"job":"check-recovery",.*"running_since":"2/.test(output) &&
    lastSuccess(output, "route-replicas") < since,
  "job-overdue": (output) => lastSuccess(output, "vacuum") < daysAgo(30),
};

/** The newest try was later than the newest success. */
function failsToArchive(output: string): boolean {
  const [, archived, failed] =
    /"last_archived_time":"?([^",]+).*"last_failed_time":"([^"]+)"/.exec(output) ?? [];
  return failed !== undefined && new Date(failed) > new Date(archived ?? 0);
}

/** The moment in a row's `last_success`; long ago when there is none. */
function lastSuccess(output: string, job?: string): Date {
  const name = job === undefined ? "" : `"job":"${job}",`;
  const found = new RegExp(`\\{${name}"last_success":"([^"]+)"`).exec(output)?.[1];
  return new Date(found ?? 0);
}

/** The value of a metric of `pgkeep metrics`. */
function metric(output: string, name: string): number {
  return Number(new RegExp(`^pgkeep_${name}_total\\{.*\\} (\\d+)$`, "m").exec(output)?.[1]);
}

function daysAgo(days: number): Date {
  return new Date(Date.now() - days * 86_400_000);
}
