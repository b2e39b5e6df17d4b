import type { DatabaseConfig } from "../../config/schema.ts";
import type { Json } from "../../json.ts";
import type { Clock } from "../../ports/clock.ts";
import type { SandboxState } from "../state.ts";
import type { HeldSessions } from "./held-sessions.ts";

export interface FaultContext {
  state: SandboxState;
  /** Sessions that stay open after `apply` returned, in the process that owns the sandbox. */
  held: HeldSessions;
  clock: Clock;
  signal: AbortSignal;
  /** What the sandbox was started with, for faults that are as large as a setting. Default: the defaults. */
  config?: DatabaseConfig;
  /** What stood behind the name and a colon: `check-health` of `disable-schedule:check-health`. */
  argument?: string;
}

export type FaultOutcome =
  | "applied"
  /** Nothing was changed: it was broken already. */
  | "already-applied"
  | "repaired"
  /** Nothing was changed: there was nothing to repair. */
  | "not-applied";

export interface FaultResult {
  outcome: FaultOutcome;
  /** One sentence: what is broken or repaired now, by name. */
  message: string;
  /** The same as data. */
  details: { [key: string]: Json };
}

/** What one application or repair did. */
export interface FaultReport extends FaultResult {
  fault: string;
}

/** A way to break the sandbox on purpose. One file each; `index.ts` lists them. */
export interface Fault {
  /** Kebab-case; the word on the command line. */
  name: string;
  /** What it breaks, and what one should then see. */
  summary: string;
  /** What may follow the name and a colon, for a fault of one of several things; without, it chooses by itself. */
  argument?: { word: string; values: readonly string[] };
  /** Entries of the alarm catalogue that fire while it is on: the root first, then what it may bring with it. */
  alarms: readonly string[];
  /** Harmless when it was applied before. @throws PgkeepError `refused` when there is nothing to break */
  apply(context: FaultContext): Promise<FaultResult>;
  /** Harmless when it was not applied. */
  repair(context: FaultContext): Promise<FaultResult>;
}

/** In gigabytes: what is allocated, and the most that it may grow to. */
export function storageOf({
  config,
}: FaultContext): Pick<DatabaseConfig["database"], "storageGigabytes" | "maxStorageGigabytes"> {
  return config?.database ?? { storageGigabytes: 100, maxStorageGigabytes: 500 };
}
