import type { Session } from "../ports/databases.ts";
import { endOf, type Forecast } from "./extrapolate.ts";
import type { DaySample } from "./read.ts";
import { rounded, trendOf } from "./trend.ts";

/** PostgreSQL refuses new ids 3,000,000 before the 2^31 at which they would wrap (varsup.c, multixact.c). */
const idsUntilStop = 2 ** 31 - 1 - 3_000_000;

/** Autovacuum begins at the trigger itself; a tenth beyond, it does not keep up. As in the wraparound check. */
const overdueRatio = 1.1;

/**
 * Transaction and multixact ids. As long as the oldest is younger than what makes autovacuum freeze, there is no end:
 * ids are given back. Once it does not get through, the rate of use says how long the rest lasts.
 */
export async function forecastIds(session: Session, days: readonly DaySample[]): Promise<Forecast[]> {
  const [settings] = await session.query<{ xid: number; multixact: number }>(
    `select current_setting('autovacuum_freeze_max_age')::float8 as xid,
            current_setting('autovacuum_multixact_freeze_max_age')::float8 as multixact`,
  );
  return [
    forecastSpace(
      "transaction-ids",
      days.map((day) => ({ at: day.at, next: day.nextTransactionId, age: day.transactionIdAge })),
      { setting: "autovacuum_freeze_max_age", trigger: settings?.xid ?? 0 },
    ),
    forecastSpace(
      "multixact-ids",
      unwrapped(days).map((day) => ({ at: day.at, next: day.nextMultixactId, age: day.multixactAge })),
      { setting: "autovacuum_multixact_freeze_max_age", trigger: settings?.multixact ?? 0 },
    ),
  ];
}

export interface IdSample {
  at: number;
  /** The next id to be given out, counted on without wrapping. */
  next: number;
  age: number;
}

export function forecastSpace(
  kind: "transaction-ids" | "multixact-ids",
  samples: readonly IdSample[],
  freezing: { setting: string; trigger: number },
): Forecast {
  const subject = kind === "transaction-ids" ? "transaction ids" : "multixact ids";
  const newest = samples.at(-1);
  const common = {
    kind,
    subject,
    used: newest?.age ?? null,
    limit: idsUntilStop,
    limitBasis: "age of the oldest at which PostgreSQL stops",
  };
  // A point-in-time restore sets the counter back.
  const lastStep = samples.findLastIndex(({ next }, index) => next < (samples[index - 1]?.next ?? next));
  const recent = samples.slice(Math.max(0, lastStep));
  const notes = lastStep > 0 ? ["the counter was set back (a restore): only what came after counts"] : [];
  const trend = trendOf(recent.map(({ at, next }) => ({ at, value: next })));
  if (newest === undefined || "reason" in trend) {
    const reason = "reason" in trend ? trend.reason : "there are no samples";
    return { ...common, verdict: "not-assessable", reason, notes };
  }
  const end = endOf(trend, Math.max(0, idsUntilStop - newest.age));
  if (end.verdict !== "ends") return { ...common, ...end, reason: "none are used", notes };
  if (newest.age < freezing.trigger * overdueRatio) {
    const untilFreezing = rounded(Math.max(0, freezing.trigger - newest.age) / trend.perDay);
    return {
      ...common,
      verdict: "no-end",
      reason: `autovacuum keeps the oldest below ${freezing.setting}`,
      trend,
      ...(end.confidence === undefined ? {} : { confidence: end.confidence }),
      notes: [
        ...notes,
        `the next freezing of old rows is due in ${untilFreezing} days; were nothing frozen from now on, they would end in ${end.days} days`,
      ],
    };
  }
  return {
    ...common,
    ...end,
    notes: [
      ...notes,
      `the oldest is beyond ${freezing.setting} (${freezing.trigger}): autovacuum does not get through`,
    ],
  };
}

/** Multixact ids are known modulo 2^32. */
function unwrapped(days: readonly DaySample[]): DaySample[] {
  let offset = 0;
  return days.map((day, index) => {
    const before = days[index - 1]?.nextMultixactId ?? 0;
    if (before - day.nextMultixactId > 2 ** 31) offset += 2 ** 32;
    return { ...day, nextMultixactId: day.nextMultixactId + offset };
  });
}
