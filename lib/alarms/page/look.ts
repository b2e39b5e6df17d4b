/** Health checks whose findings name a cause. */
export const lookedAtChecks = [
  "connections",
  "long-running-queries",
  "idle-in-transaction",
  "blocked-sessions",
  "cache-hit-ratio",
  "deadlocks",
  "temporary-files",
  "checkpoints",
  "replication",
  "replication-slots",
  "wraparound",
  "prepared-transactions",
  "invalid-indexes",
  "certificate",
  "clock",
  "heartbeat",
] as const;

/** Short looks of their own, where no health check names a cause. */
export const shortLooks = [
  /** Whether somebody can log in at all, and if not, why. */
  "reachability",
  /** The largest and the fastest growing tables, WAL on disk, and what keeps it. */
  "storage",
  /** The statements that took most of the time. */
  "statements",
  /** What the active sessions wait for, and who has most of them. */
  "sessions",
  /** The oldest open transaction, whatever it does. */
  "transactions",
  /** The tables whose blocks come from outside shared buffers. */
  "scans",
  /** The tables that are changed most, and the roles that change them. */
  "contention",
  /** Sessions that hold temporary files now. */
  "temporary-space",
  /** Whether WAL is archived, and since when it is not. */
  "archiving",
  /** What the last run of the job said, and when it last succeeded. */
  "jobs",
  /** The integer keys that run out first. */
  "keys",
  /** What check-integrity knows as damaged. */
  "damage",
  /** Refused logins: nothing in SQL shows them. */
  "logins",
] as const;

/** What can be looked at in a database when an alarm fires. */
export type LookName = (typeof lookedAtChecks)[number] | (typeof shortLooks)[number];

export type Evidence = Readonly<Record<string, string | number | boolean>>;

/** One thing that explains the alarm. Names in it are as they are in the database, in any characters. */
export interface LookFinding {
  from: LookName;
  /** One sentence that names it: `"app" ("checkout", pid 4711, idle in transaction) holds up 7 sessions, for 2 min`. */
  text: string;
  /** Whom it hurts now, as far as it could be seen: `7 sessions of app, reporting`. */
  hurts?: string;
  /** The same as fields: `rootPid`, `user`, `ageSeconds`, `statement`; `slot`; `table`. */
  evidence: Evidence;
}

/** What was seen in the database when the alarm fired. */
export interface Look {
  /** ISO 8601, by the clock of who looked. */
  lookedAt: string;
  /** The most telling first. */
  findings: readonly LookFinding[];
  /** What could not be seen, each with why. */
  unseen: readonly string[];
}
