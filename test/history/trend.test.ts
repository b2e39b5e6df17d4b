import { describe, expect, it } from "vitest";
import { confidenceOf, type Point, sinceLastFall, type Trend, trendOf } from "../../lib/history/trend.ts";

const daily = (count: number, value: (day: number) => number): Point[] =>
  Array.from({ length: count }, (_, at) => ({ at, value: value(at) }));

const fitted = (points: readonly Point[]): Trend => {
  const trend = trendOf(points);
  if ("reason" in trend) throw new Error(trend.reason);
  return trend;
};

/** The same numbers each time, between −1 and 1. */
const noise = (seed: number) => {
  const x = Math.sin(seed * 12.9898) * 43758.5453;
  return 2 * (x - Math.floor(x)) - 1;
};

describe("a trend", () => {
  it("is the slope of a straight line, with an interval of nothing", () => {
    expect(fitted(daily(10, (day) => 100 + 7 * day))).toEqual({
      perDay: 7,
      perDayLow: 7,
      perDayHigh: 7,
      samples: 10,
      spanDays: 9,
      fit: "Theil–Sen",
    });
  });

  it("is not moved by a few wild samples", () => {
    const trend = fitted(daily(30, (day) => (day % 10 === 5 ? 1e9 : 3 * day)));
    expect(trend.perDay).toBeCloseTo(3, 5);
  });

  it("agrees with the interval that Sen's method gives by hand", () => {
    // Slopes in order: -1 0.5 0.667 1 1.25 1.333 1.4 1.5 2 2; C = 1.645 √(5·4·15/18) = 6.72, so the second from each end.
    const trend = fitted([
      { at: 0, value: 1 },
      { at: 1, value: 2 },
      { at: 2, value: 4 },
      { at: 3, value: 3 },
      { at: 6, value: 9 },
    ]);
    expect(trend.perDay).toBeCloseTo((1.25 + 4 / 3) / 2, 10);
    expect([trend.perDayLow, trend.perDayHigh]).toEqual([0.5, 2]);
  });

  it("has the true slope in its interval about nine times of ten", () => {
    const trials = 400;
    let inside = 0;
    for (let trial = 0; trial < trials; trial += 1) {
      const trend = fitted(daily(20, (day) => 5 * day + 20 * noise(trial * 100 + day)));
      if (trend.perDayLow <= 5 && 5 <= trend.perDayHigh) inside += 1;
    }
    expect(inside / trials).toBeGreaterThan(0.85);
    expect(inside / trials).toBeLessThan(0.97);
  });

  it("is not told from less than a week or from too few samples", () => {
    expect(trendOf([])).toEqual({ reason: "only 0 samples over 0 days; it takes 5 over 6 days" });
    expect(trendOf(daily(6, (day) => day))).toHaveProperty("reason");
    expect(trendOf(daily(7, (day) => day))).toHaveProperty("perDay");
    expect(trendOf([0, 10, 20, 30].map((at) => ({ at, value: at })))).toHaveProperty("reason");
  });

  it("takes missed days as they are", () => {
    expect(fitted([0, 1, 5, 6, 20].map((at) => ({ at, value: 2 * at }))).perDay).toBe(2);
  });

  it("begins after the last fall", () => {
    const points = daily(10, (day) => (day < 6 ? 1000 + day : day));
    const { points: recent, fell } = sinceLastFall(points, 0.2);
    expect(recent.map(({ at }) => at)).toEqual([6, 7, 8, 9]);
    expect(fell).toEqual({ at: 6, from: 1005, to: 6 });
    expect(
      sinceLastFall(
        daily(10, (day) => 100 - day),
        0.2,
      ).fell,
    ).toBeUndefined();
  });

  it("is trusted by its samples, its interval and how far it is stretched", () => {
    const sure = fitted(daily(20, (day) => 100 * day + noise(day)));
    expect(confidenceOf(sure, 30)).toBe("high");
    expect(confidenceOf(sure, 300)).toBe("medium");
    expect(confidenceOf(fitted(daily(8, (day) => 100 * day)), 10)).toBe("medium");
    expect(confidenceOf(fitted(daily(20, (day) => 0.01 * day + 10 * noise(day))), 30)).toBe("low");
  });
});
