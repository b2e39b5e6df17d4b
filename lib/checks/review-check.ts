import type { JobConfig } from "../config/schema.ts";
import type { Json } from "../json.ts";
import type { Session } from "../ports/databases.ts";
import type { Finding, Verdict } from "./check.ts";

/** The sections of a review, in the order in which its report shows them. */
export const areas = {
  integrity: "Data integrity",
  security: "Security",
  constraints: "Constraints",
  types: "Types, sequences and JSON",
  indexes: "Indexes",
  workload: "Queries",
  space: "Space, bloat and vacuum",
  settings: "Settings",
} as const;

export type Area = keyof typeof areas;

/** A change that mends what was found, as statements for a migration tool; each statement runs alone. */
export interface Fix {
  up: string[];
  down: string[];
  /** What shows that it helps, or that it is safe: plans before and after, sizes, counts. One line each. */
  proof: string[];
}

export interface ReviewFinding extends Finding {
  /** Why it came to be. */
  rootCause: string;
  /** What keeps it from coming back. */
  prevention: string;
  /** What the remedy costs a team: minutes for one statement, hours for a change with care, days for a redesign. */
  effort: "minutes" | "hours" | "days";
  /** Since when, as far as the database tells; ISO 8601. */
  since?: string;
  /** SQL or DDL as it is, and as it should be. */
  example?: { before: string; after: string };
  /** Where in the application, from the statement's comments. */
  origin?: string;
  /** Absent when no statement mends it. */
  fix?: Fix;
  /** Set by the report, never by a check: somebody accepts it, so it does not count. */
  suppressed?: { reason: string; expires?: string };
}

/** When the statistics began that "unused" and "slow" are about. */
export interface StatisticsWindow {
  since: Date | null;
  /** Until now; null when the server does not say. A crash resets without saying so. */
  seconds: number | null;
}

/** What a check may still spend on proofs (pgstattuple, EXPLAIN, counting rows). */
export interface Budget {
  /** Milliseconds left for the whole review. */
  left(): number;
}

export interface ReviewContext {
  /** Read-only by default_transaction_read_only, with a statement and a lock timeout; search_path is pg_catalog. */
  session: Session;
  config: JobConfig;
  /** The server's clock when the review began. */
  now: Date;
  window: StatisticsWindow;
  /** Installed extensions and the schema and version of each. */
  extensions: ReadonlyMap<string, { schema: string; version: string }>;
  /** Sessions on the replicas given with `--replica`, by their names. */
  replicas: readonly { name: string; session: Session }[];
  /** Replicas that exist and did not answer: what only a replica's statistics would refute is not known. */
  replicasUnseen: readonly { name: string; reason: string }[];
  budget: Budget;
  /** Milliseconds between the two looks at pg_stat_statements that `--observe` asks for; 0 for one look. */
  observeMilliseconds: number;
  signal: AbortSignal;
  /**
   * What `load` gives, loaded once for all checks of this review: the catalogue of indexes, the parsed
   * statements. A failure is that of each check that asks.
   */
  once<T>(key: string, load: () => Promise<T>): Promise<T>;
}

export interface ReviewOutcome {
  verdict: Verdict;
  /** Why it is `not-assessable`, or what could not be seen although there are findings, and the statement that would change that. */
  reason?: string;
  findings: ReviewFinding[];
  facts: { [key: string]: Json };
  /** What is done well, a sentence each, for the report. */
  good: string[];
}

/** What a check must have, else it is `not-assessable` with the statement that would change that. */
export interface Needs {
  /** Installed in this database. */
  extensions?: readonly string[];
  /** Roles whose rights the login needs, e.g. `pg_read_all_stats`. */
  memberOf?: readonly string[];
  /** Only the primary can answer: statistics and catalogs of what is being built are not on a standby. */
  primary?: true;
}

/** A question of the review. One file each, and a line in its folder's list. */
export interface ReviewCheck {
  /** Kebab-case, unique; in findings, `--only` and suppressions. */
  name: string;
  /** The question. */
  title: string;
  area: Area;
  needs?: Needs;
  run(context: ReviewContext): Promise<ReviewOutcome>;
}

/** What a review check has gathered, before its verdict. */
export interface Reviewed {
  findings?: ReviewFinding[];
  facts?: { [key: string]: Json };
  good?: string[];
  /** Why something stayed unseen, and what would change that. */
  obstacle?: string | undefined;
}

/** The verdict, as `conclude` gives it for the checks of health: silence is never a pass. */
export function concludeReview({ findings = [], facts = {}, good = [], obstacle }: Reviewed): ReviewOutcome {
  return {
    verdict: findings.length > 0 ? "findings" : obstacle === undefined ? "pass" : "not-assessable",
    ...(obstacle === undefined ? {} : { reason: obstacle }),
    findings,
    facts,
    good: findings.length > 0 || obstacle !== undefined ? [] : good,
  };
}
