import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { table } from "../../../lib/config/reference.ts";
import { configFor } from "../../helpers/config.ts";
import { writePart, writes } from "./document.ts";
import { type DrillSandbox, startDrillSandbox, type Told } from "./drill-sandbox.ts";
import { drillConfig } from "./drills.ts";
import {
  badDays,
  badStretches,
  badWeek,
  days,
  goodStretches,
  goodWeek,
  runWeek,
  type Stretch,
  type WeekResult,
} from "./week.ts";

/**
 * `PGKEEP_ALARM_WEEK=full`: each of its 10,080 minutes, which takes an hour; or each minute of these days, such as
 * `Wednesday`. By default the minutes around what happens.
 */
const asked = process.env.PGKEEP_ALARM_WEEK;
const wholeDays = asked === undefined ? [] : days.filter((day) => asked === "full" || asked.includes(day));
const whole: readonly Stretch[] = wholeDays.map((name) => ({ day: days.indexOf(name), from: 0, to: 1_440 }));
const part = asked === undefined ? "week" : "whole-week";
const hour = 3_600_000;

/** What runs monthly by default runs in this week. */
const config = configFor("shop", {
  ...drillConfig,
  schedules: { "drill-restore": "30 4 * * 3", reindex: "30 3 * * 4" },
});

describe(`a week of the sandbox: ${asked ?? "around what happens in it"}`, () => {
  const rows: string[][] = [];
  let sandbox: DrillSandbox;
  beforeAll(async () => {
    sandbox = await startDrillSandbox({ config });
    sandbox.startAtMidnight();
  });
  afterAll(async () => {
    await sandbox?.stop();
    if (writes && rows.length > 0) {
      const head = ["week", "simulated minutes", "runs of jobs", "of them failed", "told", "over"];
      writePart(part, table(head, rows));
    }
  });

  const ofDays = asked === undefined || asked === "full" ? "" : `: ${wholeDays.join(", ")}`;
  const note = (name: string, { ticks, runs, told }: WeekResult) => {
    const all = runs.succeeded + runs.failed + runs.skipped;
    rows.push([name, ticks, all, runs.failed, count(told, "ALARM"), count(told, "OK")].map(String));
  };

  it("with backups, a drill, a release, peaks, a failover and maintenance tells nobody anything", {
    timeout: 2 * hour,
  }, async () => {
    sandbox.watch({ config });
    const stretches = asked === undefined ? goodStretches : whole;
    const events = goodWeek(config).filter(({ day }) => stretches.some((stretch) => stretch.day === day));
    const result = await runWeek(sandbox, events, stretches, report);
    expect(describeTold(result.told), result.failures.join("\n")).toEqual([]);
    note(`nothing broken${ofDays}`, result);
    // Runs fail while the primary is away, and no others.
    expect(result.failures.filter((line) => !/cannot reach/.test(line))).toEqual([]);
    const nights = new Set(stretches.map(({ day }) => day)).size;
    for (const job of ["back-up", "vacuum", "collect-history", "manage-partitions", "check-recovery"]) {
      expect(sandbox.runs.get(job)?.succeeded, job).toBeGreaterThanOrEqual(nights);
    }
    if (nights < days.length) return;
    for (const job of ["drill-restore", "check-integrity", "review-database"]) {
      expect(sandbox.runs.get(job)?.succeeded, job).toBeGreaterThanOrEqual(1);
    }
  });

  it("with a fault each day tells of each once, and of nothing else", { timeout: 2 * hour }, async () => {
    sandbox.startAtMidnight();
    sandbox.watch({ config });
    const stretches = asked === undefined ? badStretches : whole;
    const events = badWeek(config).filter(({ day }) => stretches.some((stretch) => stretch.day === day));
    const result = await runWeek(sandbox, events, stretches, report);
    const expected = stretches.flatMap(({ day }) =>
      ["ALARM", "OK"].map((to) => `${days[day]}: ${badDays[day]?.alarm} ${to}`),
    );
    const told = result.told.map(({ alarm, to, at }) => `${dayOf(at)}: ${alarm.name} ${to}`);
    expect(told, [...result.failures, ...describeTold(result.told)].join("\n")).toEqual(expected);
    note(`a fault each day${ofDays}`, result);
  });
});

/** A line each day, for whoever waits for a whole week. */
function report(line: string): void {
  if (asked !== undefined) process.stderr.write(`${line}\n`);
}

/** What ends with the last minute of a day is told at midnight. */
function dayOf(at: Date): string | undefined {
  return days[(new Date(at.getTime() - 1).getUTCDay() + 6) % 7];
}

function count(told: readonly Told[], wanted: "ALARM" | "OK"): number {
  return told.filter(({ to }) => to === wanted).length;
}

function describeTold(told: readonly Told[]): string[] {
  return told.map(
    ({ alarm, to, at, evaluation }) =>
      `${dayOf(at)} ${at.toISOString().slice(11, 16)}: ${alarm.name} ${to}: ${evaluation.reason}`,
  );
}
