import { type Confidence, confidenceOf, type Point, rounded, type Trend, trendOf } from "./trend.ts";

export type ForecastKind = "storage" | "transaction-ids" | "multixact-ids" | "key";

/** When something ends. */
export type Forecast = {
  kind: ForecastKind;
  /** For people: `storage`, `public.orders.id`. */
  subject: string;
  object?: { schema: string; table: string; column: string };
  /** `no-end`: it does not grow, or what it uses is given back in time. */
  verdict: "ends" | "no-end" | "not-assessable";
  /** Why it is not assessable, or why there is no end. */
  reason?: string;
  /** Used now, and where it ends; bytes or ids. */
  used: number | null;
  limit: number | null;
  /** What the limit is. */
  limitBasis: string;
  trend?: Trend;
  confidence?: Confidence;
  /** Days from the newest sample. */
  days?: number;
  /** By the steep and the flat end of the interval; null when the flat end does not grow. */
  earliestDays?: number;
  latestDays?: number | null;
  notes: string[];
};

/** Follows the trend of the points to the limit. */
export function extrapolate(
  points: readonly Point[],
  about: Pick<Forecast, "kind" | "subject" | "object" | "limitBasis" | "notes"> & { limit: number },
): Forecast {
  const used = points.at(-1)?.value ?? null;
  const common = { ...about, used };
  if (used !== null && used >= about.limit) {
    return { ...common, verdict: "ends", days: 0, earliestDays: 0, latestDays: 0, reason: "it is used up" };
  }
  const trend = trendOf(points);
  if ("reason" in trend) return { ...common, verdict: "not-assessable", reason: trend.reason };
  return { ...common, ...endOf(trend, about.limit - (used ?? 0)) };
}

/** What `remaining` lasts at this rate. */
export function endOf(
  trend: Trend,
  remaining: number,
): Pick<Forecast, "verdict" | "reason" | "trend" | "confidence" | "days" | "earliestDays" | "latestDays"> {
  if (trend.perDay <= 0) {
    return { verdict: "no-end", reason: "it does not grow", trend, confidence: confidenceOf(trend, null) };
  }
  const days = rounded(remaining / trend.perDay);
  return {
    verdict: "ends",
    trend,
    confidence: confidenceOf(trend, days),
    days,
    earliestDays: rounded(remaining / trend.perDayHigh),
    latestDays: trend.perDayLow > 0 ? rounded(remaining / trend.perDayLow) : null,
  };
}
