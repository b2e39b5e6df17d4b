import { type Look, type LookName, lookedAtChecks, type shortLooks } from "../../alarms/page/look.ts";
import { systemClock } from "../../clock.ts";
import type { JobConfig } from "../../config/schema.ts";
import { errorMessage, PgkeepError } from "../../errors.ts";
import type { Clock } from "../../ports/clock.ts";
import type { Session } from "../../ports/databases.ts";
import type { Check } from "../check.ts";
import { checkHealth } from "../health.ts";
import { healthChecks } from "../index.ts";
import { type PreviousSample, readPreviousSample } from "../samples.ts";
import {
  lookAtContention,
  lookAtScans,
  lookAtSessions,
  lookAtStatements,
  lookAtTransactions,
} from "./activity.ts";
import { clueOf } from "./clues-of-finding.ts";
import { lookAtArchiving, lookAtDamage, lookAtJobs, lookAtLogins, lookAtReachability } from "./records.ts";
import type { Clue, LookContext, Seen, ShortLook } from "./short-look.ts";
import { lookAtKeys, lookAtStorage, lookAtTemporarySpace } from "./space.ts";

/** All of a look, in milliseconds: who was woken waits for it. */
export const lookMilliseconds = 5_000;
const statementMilliseconds = 2_000;
/** Nobody's lock is waited for: what is locked is passed over. */
const lockMilliseconds = 100;

const looks: Record<(typeof shortLooks)[number], ShortLook> = {
  reachability: lookAtReachability,
  storage: lookAtStorage,
  "temporary-space": lookAtTemporarySpace,
  statements: lookAtStatements,
  sessions: lookAtSessions,
  transactions: lookAtTransactions,
  scans: lookAtScans,
  contention: lookAtContention,
  archiving: lookAtArchiving,
  jobs: lookAtJobs,
  keys: lookAtKeys,
  damage: lookAtDamage,
  logins: lookAtLogins,
};

export interface LookOptions {
  /** Default: {@link lookMilliseconds}. */
  milliseconds?: number;
  /** Default: the machine's. */
  clock?: Pick<Clock, "now">;
}

/**
 * Looks for the cause of an alarm in the database: what its entry names, one after the other, until the time is up.
 * Never throws and never waits for a lock: what could not be seen is said in `unseen`. The session is the look's own
 * and may still be busy with a statement afterwards: close it.
 */
export async function lookAt(
  session: Session,
  config: JobConfig,
  alarm: LookContext["alarm"] & { look: readonly LookName[] },
  options: LookOptions = {},
): Promise<Look> {
  const clock = options.clock ?? systemClock;
  const lookedAt = clock.now().toISOString();
  const deadline = performance.now() + (options.milliseconds ?? lookMilliseconds);
  const clues: Clue[] = [];
  const unseen: string[] = [];
  try {
    const previous = await within(deadline, prepare(session));
    for (const name of alarm.look) {
      const seen = await within(deadline, one(name, { session, config, alarm }, clock.now(), previous)).catch(
        (error: unknown) => {
          if (endsTheLook(error)) throw error;
          return { clues: [], unseen: `${name}: ${errorMessage(error)}` };
        },
      );
      clues.push(...seen.clues);
      if (seen.unseen !== undefined) unseen.push(seen.unseen);
    }
  } catch (error) {
    unseen.push(error instanceof OutOfTime ? "the look took too long and was given up" : errorMessage(error));
  }
  return { lookedAt, findings: ranked(clues), unseen };
}

async function prepare(session: Session): Promise<PreviousSample> {
  await session.query(
    "select set_config('statement_timeout', $1, false), set_config('lock_timeout', $2, false)",
    [String(statementMilliseconds), String(lockMilliseconds)],
  );
  return readPreviousSample(session).catch((error: unknown) => {
    if (endsTheLook(error)) throw error;
    return { missingBecause: errorMessage(error) };
  });
}

function one(name: LookName, context: LookContext, now: Date, previous: PreviousSample): Promise<Seen> {
  const check = checkNamed(name);
  return check === undefined
    ? looks[name as keyof typeof looks](context)
    : ask(check, context, now, previous);
}

function checkNamed(name: LookName): Check | undefined {
  return (lookedAtChecks as readonly string[]).includes(name)
    ? healthChecks.find((check) => check.name === name)
    : undefined;
}

async function ask(check: Check, context: LookContext, now: Date, previous: PreviousSample): Promise<Seen> {
  const { results } = await checkHealth({
    session: context.session,
    config: context.config,
    now,
    previous,
    checks: [check],
    statementTimeoutMilliseconds: statementMilliseconds,
  });
  const reason = results[0]?.reason;
  return {
    clues: results
      .flatMap(({ findings }) => findings.map((finding) => clueOf(check.name as LookName, finding)))
      // Of slots, the one that keeps most.
      .sort((a, b) => Number(b.evidence.retainedBytes ?? 0) - Number(a.evidence.retainedBytes ?? 0)),
    ...(reason === undefined ? {} : { unseen: `${check.name}: ${reason}` }),
  };
}

/** What is bad enough to be the cause first; beside that, in the order of the entry. */
function ranked(clues: readonly Clue[]): Look["findings"] {
  return [...clues].sort((a, b) => a.rank - b.rank).map(({ rank: _, ...finding }) => finding);
}

class OutOfTime extends Error {}

async function within<T>(deadline: number, work: Promise<T>): Promise<T> {
  const left = deadline - performance.now();
  let timer: NodeJS.Timeout | undefined;
  const out = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new OutOfTime()), Math.max(0, left));
  });
  // Given up, it may still fail when the session is closed.
  work.catch(() => {});
  try {
    return await Promise.race([work, out]);
  } finally {
    clearTimeout(timer);
  }
}

function endsTheLook(error: unknown): boolean {
  if (error instanceof OutOfTime) return true;
  return error instanceof PgkeepError && (error.code === "unreachable" || error.code === "deadline");
}
