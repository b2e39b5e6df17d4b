import type { JobConfig } from "../config/schema.ts";
import type { Json } from "../json.ts";
import type { Session } from "../ports/databases.ts";
import type { MetricDatum } from "../ports/metrics.ts";

export type Severity = "critical" | "high" | "medium" | "low";
export type Confidence = "certain" | "likely" | "suspected";
export type Verdict = "pass" | "findings" | "not-assessable";

/** One thing that is wrong. */
export interface Finding {
  check: string;
  /** Stable across runs for the same fault of the same object, so that it can be compared and suppressed. */
  key: string;
  severity: Severity;
  confidence: Confidence;
  /** What it is about; whichever of these apply. */
  object: {
    schema?: string;
    table?: string;
    index?: string;
    column?: string;
    role?: string;
    pid?: number;
    name?: string;
  };
  title: string;
  /** The numbers that show it. */
  evidence: { [key: string]: Json };
  impact: string;
  blastRadius: string;
  remediation: { sql: string; lock: string; rollback: string };
}

/** Running totals that a check reads; the difference to an earlier sample is what happened in between. */
export type Counters = Record<string, number>;

export interface CounterSample {
  takenAt: Date;
  /** When the server last reset the statistics; a change makes the samples incomparable. */
  resetAt: Date | null;
  counters: Counters;
}

export interface CheckContext {
  session: Session;
  config: JobConfig;
  /** The server's own clock when the run began. */
  now: Date;
  /** Our clock at this moment. */
  ownNow(): Date;
  /** The sample of the previous run, when there is one. */
  previous?: CounterSample;
  /** Why there is none. */
  previousMissingBecause?: string;
}

export interface CheckOutcome {
  verdict: Verdict;
  /** Why it is `not-assessable`, and the statement that would change that. */
  reason?: string;
  findings: Finding[];
  /** What was measured, for people and `--json`. */
  facts: { [key: string]: Json };
  metrics: Omit<MetricDatum, "at">[];
  counters?: Counters;
}

/** A question about a database with a verdict. */
export interface Check {
  /** Kebab-case; appears in findings, `--only` and suppressions. */
  name: string;
  /** The question, for the generated table. */
  title: string;
  run(context: CheckContext): Promise<CheckOutcome>;
}
