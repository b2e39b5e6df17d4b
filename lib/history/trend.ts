import { countText } from "../words.ts";

/** One observation; `at` in days, fractions included. */
export interface Point {
  at: number;
  value: number;
}

export type Confidence = "high" | "medium" | "low";

/** A straight line through observations. */
export type Trend = {
  /** Median of the slopes between any two observations (Theil 1950, Sen 1968): a third of them may be wild. */
  perDay: number;
  /** The slope lies between these two with 90 % confidence, if the future is like the past. */
  perDayLow: number;
  perDayHigh: number;
  samples: number;
  spanDays: number;
  fit: "Theil–Sen";
};

/** Fewer say nothing: with five, the interval of Sen's method leaves out the outermost slopes for the first time. */
export const minimumSamples = 5;

/** A week of daily samples; with less, working days stand for Sundays. */
export const minimumSpanDays = 6;

/** Of the normal distribution, two-sided 90 %. */
const z = 1.645;

/** The trend, or why there is none. */
export function trendOf(points: readonly Point[]): Trend | { reason: string } {
  const first = points[0];
  const last = points.at(-1);
  const spanDays = first === undefined || last === undefined ? 0 : last.at - first.at;
  if (points.length < minimumSamples || spanDays < minimumSpanDays - 0.5) {
    return {
      reason: `only ${countText(points.length, "sample")} over ${countText(rounded(spanDays), "day")}; it takes ${minimumSamples} over ${minimumSpanDays} days`,
    };
  }
  const slopes: number[] = [];
  for (const [index, one] of points.entries()) {
    for (const other of points.slice(index + 1)) {
      if (other.at > one.at) slopes.push((other.value - one.value) / (other.at - one.at));
    }
  }
  slopes.sort((a, b) => a - b);
  const at = (index: number) => slopes[Math.min(slopes.length - 1, Math.max(0, index))] ?? 0;
  const middle = (slopes.length - 1) / 2;
  const n = points.length;
  // Sen 1968, equation 2.6: ranks around the median by the variance of Kendall's S.
  const spread = z * Math.sqrt((n * (n - 1) * (2 * n + 5)) / 18);
  return {
    perDay: (at(Math.floor(middle)) + at(Math.ceil(middle))) / 2,
    perDayLow: at(Math.round((slopes.length - spread) / 2) - 1),
    perDayHigh: at(Math.round((slopes.length + spread) / 2)),
    samples: n,
    spanDays: rounded(spanDays),
    fit: "Theil–Sen",
  };
}

/**
 * How far a forecast of `days` by this trend is to be trusted. `high`: two weeks of samples, an interval within a
 * quarter of the slope, and not further ahead than three times what was seen. `low`: the slope might be none.
 */
export function confidenceOf(trend: Trend, days: number | null): Confidence {
  const { perDay, perDayLow, perDayHigh, samples, spanDays } = trend;
  if (perDay > 0 && perDayLow <= 0) return "low";
  const width = Math.max(perDayHigh - perDay, perDay - perDayLow);
  const isNear = days === null || days <= 3 * spanDays;
  return samples >= 14 && width <= Math.abs(perDay) / 4 && isNear ? "high" : "medium";
}

/**
 * What came after the last fall by more than `share` of the value: before it, something else grew (rows that were
 * deleted and the file cut, a sequence that was set back).
 */
export function sinceLastFall<P extends Point>(
  points: readonly P[],
  share: number,
): { points: readonly P[]; fell?: { at: number; from: number; to: number } } {
  for (let index = points.length - 1; index > 0; index -= 1) {
    const [before, after] = [points[index - 1] as P, points[index] as P];
    if (before.value - after.value > share * Math.abs(before.value)) {
      return {
        points: points.slice(index),
        fell: { at: after.at, from: before.value, to: after.value },
      };
    }
  }
  return { points };
}

export function rounded(value: number, digits = 1): number {
  return Math.round(value * 10 ** digits) / 10 ** digits;
}
