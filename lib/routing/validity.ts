import { Cron } from "croner";
import type { DatabaseConfig } from "../config/schema.ts";

/** A document may be late by two periods before its readers distrust it. */
const periods = 3;
const defaultPeriodSeconds = 60;

/** How long a routing document is good for: three of the longest coming periods of the job's schedule. */
export function validForSeconds(schedules: DatabaseConfig["schedules"], now: Date): number {
  const pattern = schedules["route-replicas"];
  if (pattern === undefined || pattern === "off") return periods * defaultPeriodSeconds;
  const runs = new Cron(pattern, { timezone: schedules.timeZone, paused: true }).nextRuns(6, now);
  const gaps = runs.slice(1).map((run, index) => (run.getTime() - (runs[index] as Date).getTime()) / 1000);
  return gaps.length === 0 ? periods * defaultPeriodSeconds : periods * Math.max(...gaps);
}
