import { Cron } from "croner";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  defaultRoutingSchedule,
  duration,
  longestPeriodSeconds,
  nextRun,
} from "../../lib/config/schedule.ts";
import { routeReplicas } from "../../lib/jobs/route-replicas.ts";

describe("the longest time between two runs", () => {
  it.each([
    ["* * * * *", 60],
    ["*/5 * * * *", 300],
    ["*/7 * * * *", 420],
    ["0,50 * * * *", 3000],
    ["0 * * * *", 3600],
    ["* 9-17 * * *", (15 * 60 + 1) * 60],
    ["0 3 * * *", 86_400],
    ["0 3 * * MON-FRI", 3 * 86_400],
    ["0 3 * * SUN", 7 * 86_400],
    ["0 3 1 * *", 31 * 86_400],
    ["0 3 31 * *", 61 * 86_400],
    ["0 0 1 1 *", 366 * 86_400],
    ["0 0,12 * * SUN", 6.5 * 86_400],
    ["0 0 29 2 *", 8 * 365.25 * 86_400 - 86_400],
  ])("of %s is %d seconds", (fields, seconds) => {
    expect(longestPeriodSeconds(fields)).toBe(seconds);
  });

  it("is absent for a day that never comes", () => {
    expect(longestPeriodSeconds("0 0 31 4 *")).toBeUndefined();
  });

  it.each(["61 * * * *", "a b c d e", "* * * *", "* * * * * *", "*/0 * * * *"])("throws for %s", (fields) => {
    expect(() => longestPeriodSeconds(fields)).toThrow();
  });

  it("is what croner's own runs show", () => {
    const field = (max: number) =>
      fc.oneof(
        fc.constant("*"),
        fc
          .uniqueArray(fc.integer({ min: 0, max }), { minLength: 1, maxLength: 3 })
          .map((values) => values.join(",")),
      );
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 59 }), field(23), field(6), (minute, hour, weekday) => {
        const fields = `${minute} ${hour} * * ${weekday}`;
        const runs = new Cron(fields, { paused: true, mode: "5-part", timezone: "UTC" })
          .nextRuns(hour === "*" ? 200 : 25, new Date("2024-03-01T00:00:00Z"))
          .map((run) => run.getTime() / 1000);
        const gaps = runs.slice(1).map((run, index) => run - (runs[index] ?? run));
        expect(longestPeriodSeconds(fields)).toBe(Math.max(...gaps));
      }),
      { numRuns: 40 },
    );
  });
});

it("assumes the schedule that route-replicas has by default", () => {
  expect(routeReplicas.schedule).toBe(defaultRoutingSchedule);
});

it.each([
  [1, "1 second"],
  [90, "90 seconds"],
  [60, "1 minute"],
  [5400, "90 minutes"],
  [7200, "2 hours"],
  [86_400, "1 day"],
])("says %d seconds as %s", (seconds, text) => {
  expect(duration(seconds)).toBe(text);
});

describe("the next run", () => {
  it("is the next moment at which the fields come true, in the time zone", () => {
    const after = new Date("2026-11-21T02:30:00Z");
    expect(nextRun("0 3 * * *", "UTC", after)).toEqual(new Date("2026-11-21T03:00:00Z"));
    expect(nextRun("0 3 * * *", "Europe/Berlin", after)).toEqual(new Date("2026-11-22T02:00:00Z"));
    expect(nextRun("* * * * *", "UTC", new Date("2026-11-21T02:30:30Z"))).toEqual(
      new Date("2026-11-21T02:31:00Z"),
    );
    expect(nextRun("0 0 31 4 *", "UTC", after)).toBeUndefined();
  });
});
