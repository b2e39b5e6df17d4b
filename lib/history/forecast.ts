import type { Session } from "../ports/databases.ts";
import { extrapolate, type Forecast } from "./extrapolate.ts";
import { forecastIds } from "./forecast-ids.ts";
import { forecastKeys } from "./forecast-keys.ts";
import { dayText } from "./growth.ts";
import { type DaySample, readDays } from "./read.ts";
import { sinceLastFall } from "./trend.ts";

export type Forecasts = {
  /** Newest day with a sample; null without any. */
  day: string | null;
  /** What ends first comes first; what cannot be assessed last. */
  forecasts: Forecast[];
  /** Key columns that were looked at; those with the most of their range left are not listed. */
  keyColumns: number;
};

/** Older samples say little about tomorrow. */
const windowDays = 90;

/** A database that lost more than this from one day to the next was cleaned up. */
const shrinkage = 0.2;

const gibibyte = 2 ** 30;

export interface StorageLimit {
  topology: string;
  maxStorageGigabytes: number;
}

/**
 * When storage, transaction ids, multixact ids and integer keys run out, by what collect-history has seen in the last
 * 90 days. Reads schema pgkeep and the catalog.
 * @throws PgkeepError `not-installed`, `insufficient-privilege`
 */
export async function forecast(session: Session, storage: StorageLimit): Promise<Forecasts> {
  const all = await readDays(session);
  const newest = all.at(-1);
  const days = newest === undefined ? [] : all.filter(({ at }) => at >= newest.at - windowDays);
  const keys = await forecastKeys(session, days);
  return {
    day: newest?.day ?? null,
    forecasts: [
      forecastStorage(days, storage),
      ...(await forecastIds(session, days)),
      ...keys.forecasts,
    ].sort((a, b) => rank(a) - rank(b)),
    keyColumns: keys.columns,
  };
}

function rank({ verdict, days, kind }: Forecast): number {
  if (verdict === "ends") return days ?? 0;
  // Of equal standing: the server's own first.
  return (verdict === "no-end" ? 1e9 : 2e9) + (kind === "key" ? 1 : 0);
}

/**
 * This database's size against `database.maxStorageGigabytes`; WAL, temporary files and other databases come on top.
 * Exported for tests.
 */
export function forecastStorage(days: readonly DaySample[], storage: StorageLimit): Forecast {
  const newest = days.at(-1);
  const common = { kind: "storage", subject: "storage" } as const;
  if (storage.topology === "aurora") {
    return {
      ...common,
      verdict: "not-assessable",
      reason: "Aurora's volume grows by itself; no limit is configured",
      used: newest?.databaseBytes ?? null,
      limit: null,
      limitBasis: "none",
      notes: [],
    };
  }
  // A size by files and one by relpages differ by more than a day's growth.
  const points = days
    .filter(({ sizeBasis }) => sizeBasis === newest?.sizeBasis)
    .map(({ at, databaseBytes }) => ({ at, value: databaseBytes }));
  const { points: recent, fell } = sinceLastFall(points, shrinkage);
  return extrapolate(recent, {
    ...common,
    limit: storage.maxStorageGigabytes * gibibyte,
    limitBasis: `database.maxStorageGigabytes, ${storage.maxStorageGigabytes} GiB`,
    notes: [
      ...(newest?.sizeBasis === "estimate"
        ? ["sizes are estimates from relpages: there are too many files to look at each"]
        : []),
      ...(fell === undefined ? [] : [`it shrank on ${dayText(fell.at)}: only what came after counts`]),
    ],
  });
}
