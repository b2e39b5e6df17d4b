import { CronPattern } from "croner";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { schedulerExpression } from "../../lib/constructs/schedule-expression.ts";
import { UsageError } from "../../lib/errors.ts";

describe("a schedule on AWS", () => {
  it.each([
    ["* * * * *", "cron(* * * * ? *)"],
    ["*/5 * * * *", "cron(0/5 * * * ? *)"],
    ["0 3 * * *", "cron(0 3 * * ? *)"],
    ["30 4 1 * *", "cron(30 4 1 * ? *)"],
    ["30 4 ? * *", "cron(30 4 * * ? *)"],
    ["0 4 * * 0", "cron(0 4 ? * SUN *)"],
    ["0 4 * * 7", "cron(0 4 ? * SUN *)"],
    ["0 4 * * 1-5", "cron(0 4 ? * MON,TUE,WED,THU,FRI *)"],
    ["0 4 * * fri-7", "cron(0 4 ? * FRI,SAT,SUN *)"],
    ["0 4 ? jan,jul Sat", "cron(0 4 ? 1,7 SAT *)"],
    ["10-40/15 8-18 * * *", "cron(10,25,40 8-18 * * ? *)"],
    ["5/20 * * * *", "cron(5/20 * * * ? *)"],
    ["0 0 1,15 */3 *", "cron(0 0 1,15 1/3 ? *)"],
  ])("writes %s as %s", (fields, expected) => {
    expect(schedulerExpression(fields, "schedules.vacuum")).toBe(expected);
  });

  it.each([
    ["0 4 1 * 1", /not both/],
    ["0 4 L * *", /"L" is no day of month/],
    ["0 4 * * 5#2", /"5#2" is no day of week/],
    ["0 4 * * 5L", /"5L" is no day of week/],
    ["61 4 * * *", /"61" is no minute/],
    ["0 4 31-1 * *", /"31-1" is no range/],
    ["*/0 * * * *", /no step/],
    ["0 4 * *", /not five fields/],
    ["0 0 4 * * *", /not five fields/],
    ["@daily", /not five fields/],
  ])("refuses %s and says where and what instead", (fields, reason) => {
    const attempt = () => schedulerExpression(fields, "schedules.vacuum");
    expect(attempt).toThrow(UsageError);
    expect(attempt).toThrow(/^schedules\.vacuum: AWS cannot run a job at/);
    expect(attempt).toThrow(reason);
  });

  it("comes true at the same moments as cron's", () => {
    const item = (min: number, max: number) =>
      fc.oneof(
        fc.integer({ min, max }).map(String),
        fc
          .tuple(fc.integer({ min, max }), fc.integer({ min, max }))
          .map(([a, b]) => `${Math.min(a, b)}-${Math.max(a, b)}`),
        fc.integer({ min: 1, max: max - min }).map((step) => `*/${step}`),
        fc
          .tuple(fc.integer({ min, max }), fc.integer({ min, max }), fc.integer({ min: 1, max: max - min }))
          .map(([a, b, step]) => `${Math.min(a, b)}-${Math.max(a, b)}/${step}`),
      );
    const field = (min: number, max: number) =>
      fc.oneof(
        fc.constant("*"),
        fc.array(item(min, max), { minLength: 1, maxLength: 3 }).map((items) => items.join(",")),
      );
    fc.assert(
      fc.property(
        field(0, 59),
        field(0, 23),
        field(1, 31),
        field(1, 12),
        field(0, 7),
        fc.boolean(),
        (m, h, dom, mon, dow, byWeek) => {
          const fields = [m, h, byWeek ? "*" : dom, mon, byWeek ? dow : "*"];
          const ours = new CronPattern(fields.join(" "), "UTC", { mode: "5-part" });
          const [am = "", ah = "", adom = "", amon = "", adow = ""] = schedulerExpression(
            fields.join(" "),
            "x",
          )
            .slice("cron(".length, -1)
            .split(" ");
          const flags = (values: ArrayLike<number | boolean>) => Array.from(values, Boolean);
          expect(awsValues(am, 0, 59)).toEqual(flags(ours.minute));
          expect(awsValues(ah, 0, 23)).toEqual(flags(ours.hour));
          expect(awsValues(amon, 1, 12)).toEqual(flags(ours.month));
          if (byWeek) expect(awsWeekdays(adow)).toEqual(flags(ours.dayOfWeek).slice(0, 7));
          else expect(awsValues(adom, 1, 31)).toEqual(flags(ours.day));
        },
      ),
    );
  });
});

/** Values that AWS reads in a field: `a/n` begins at a, ranges include their end. */
function awsValues(text: string, min: number, max: number): boolean[] {
  return Array.from({ length: max - min + 1 }, (_, index) =>
    text.split(",").some((item) => {
      const value = min + index;
      if (item === "*" || item === "?") return true;
      const [span = "", step] = item.split("/");
      const [from = "", to = step === undefined ? from : String(max)] = span.split("-");
      return value >= Number(from) && value <= Number(to) && (value - Number(from)) % Number(step ?? 1) === 0;
    }),
  );
}

function awsWeekdays(text: string): boolean[] {
  const names = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
  return names.map((name) => text === "*" || text === "?" || text.split(",").includes(name));
}
