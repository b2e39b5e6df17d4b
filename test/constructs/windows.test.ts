import { describe, expect, it } from "vitest";
import { longestPeriodSeconds } from "../../lib/config/schedule.ts";
import type { DatabaseConfig } from "../../lib/config/schema.ts";
import { assertWindowsClear } from "../../lib/constructs/windows.ts";
import { UsageError } from "../../lib/errors.ts";
import { jobs } from "../../lib/jobs/index.ts";
import { configFor } from "../helpers/config.ts";
import { thrownBy } from "../helpers/stacks.ts";

const check = (sections: Record<string, unknown>, set = jobs) => {
  const config: DatabaseConfig = configFor("shop", sections);
  return () => assertWindowsClear(config, set);
};

describe("AWS's windows", () => {
  it.each(["UTC", "Europe/Berlin", "Europe/Istanbul", "America/New_York", "Asia/Tokyo", "Australia/Sydney"])(
    "meet no job by default in %s",
    (timeZone) => {
      expect(check({ schedules: { timeZone } })).not.toThrow();
    },
  );

  it("meet a job that starts in them, and say which, when and what to do", () => {
    const error = thrownBy(check({ backups: { window: "02:15-02:45" } })) as UsageError;
    expect(error).toBeInstanceOf(UsageError);
    expect(error.message).toBe(
      "test: backups.window: 02:15-02:45 UTC meets vacuum, which starts at 02:30 UTC (schedules.vacuum: 30 2 * * * in UTC) and may take 15 minutes",
    );
    expect(error.remedy).toBe("move the window, or the job with schedules.vacuum");
  });

  it("meet a job that is still running when they begin, and not one that has ended", () => {
    const at = (window: string) =>
      check(
        { backups: { window } },
        jobs.filter(({ name }) => name === "vacuum"),
      );
    expect(at("02:44-03:14")).toThrow(/meets vacuum/);
    expect(at("02:45-03:15")).not.toThrow();
    expect(at("02:00-02:30")).not.toThrow();
    expect(at("02:00-02:31")).toThrow(/meets vacuum/);
  });

  it("are compared in UTC, summer and winter", () => {
    const schedules = { timeZone: "Europe/Berlin", vacuum: "30 2 * * *" };
    const only = jobs.filter(({ name }) => name === "vacuum");
    // 02:30 in Berlin is 01:30 UTC in winter and 00:30 UTC in summer.
    for (const window of ["01:00-01:35", "00:00-00:35"]) {
      expect(check({ schedules, backups: { window } }, only)).toThrow(/meets vacuum/);
    }
    expect(check({ schedules, backups: { window: "02:00-02:45" } }, only)).not.toThrow();
  });

  it("of the week are compared with the day of the week that the job runs on", () => {
    const weekly = (vacuum: string) =>
      check(
        { schedules: { vacuum }, maintenance: { window: "sun:23:45-mon:00:30" } },
        jobs.filter(({ name }) => name === "vacuum"),
      );
    expect(weekly("15 0 * * 1")).toThrow(/maintenance\.window: sun:23:45-mon:00:30 UTC meets vacuum/);
    expect(weekly("15 0 * * 2")).not.toThrow();
    // The first of a month is a Monday now and then.
    expect(weekly("15 0 1 * *")).toThrow(/meets vacuum/);
  });

  it("cannot be kept clear of jobs that run more than once a day, nor of those that are off", () => {
    expect(check({ schedules: { vacuum: "*/15 * * * *" } })).not.toThrow();
    expect(check({ schedules: { vacuum: "off" }, backups: { window: "02:15-02:45" } })).not.toThrow();
  });

  it("are held against every job that runs once a day or less", () => {
    const rare = jobs.filter(({ schedule }) => (longestPeriodSeconds(schedule) ?? 0) >= 86_400);
    expect(rare.map(({ name }) => name)).toEqual(
      expect.arrayContaining(["back-up", "drill-restore", "vacuum"]),
    );
    for (const job of rare) {
      const [minute = "", hour = ""] = job.schedule.split(" ");
      const start = `${hour.padStart(2, "0")}:${minute.padStart(2, "0")}`;
      const end = `${String((Number(hour) + 1) % 24).padStart(2, "0")}:${minute.padStart(2, "0")}`;
      expect(check({ backups: { window: `${start}-${end}` } }, [job]), job.name).toThrow(job.name);
    }
  });
});
