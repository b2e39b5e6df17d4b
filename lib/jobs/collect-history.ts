import type { MetricName } from "../alarms/metrics.ts";
import { maskLiterals } from "../checks/mask-literals.ts";
import { type Collected, collectHistory as collect } from "../history/collect.ts";
import { describeCollected, describeForecast } from "../history/describe.ts";
import type { Forecast, ForecastKind } from "../history/extrapolate.ts";
import { forecast } from "../history/forecast.ts";
import { requireSchema } from "../install/schema-version.ts";
import type { Json } from "../json.ts";
import { defineJob, done, step } from "./job.ts";

/** What a run reports. */
export interface CollectHistoryReport extends Collected {
  /** What ends within a year, and what cannot be assessed but for keys; the first of them. */
  forecasts: Forecast[];
}

const reported = 50;
const reportedDays = 365;

/** Beyond this, and where there is no end, the metrics say this. */
const furthestDays = 3650;

const metricOf = {
  storage: "DaysUntilStorageFull",
  "transaction-ids": "DaysUntilTransactionIdsExhausted",
  // PostgreSQL stops for either.
  "multixact-ids": "DaysUntilTransactionIdsExhausted",
  key: "DaysUntilKeyExhausted",
} as const satisfies Record<ForecastKind, MetricName>;

/** Notes sizes, counters and statements of the day, and measures when something runs out. */
export const collectHistory = defineJob({
  name: "collect-history",
  summary: "Note sizes, counters and statements of the day, and forecast what runs out",
  schedule: "50 2 * * *",
  supportsDryRun: true,
  describe: (report: CollectHistoryReport) => [
    ...describeCollected(report),
    ...report.forecasts.map(describeForecast),
  ],
  steps: [
    step<Record<string, never>, Json, "primary">("collect", {
      where: "database",
      needs: ["primary"],
      timeoutSeconds: 300,
      async run(context) {
        const { database, history } = context.config;
        const session = await context.ports.primary.connect({
          role: "monitoring",
          signal: context.deadline,
          statementTimeoutMilliseconds: 120_000,
        });
        try {
          await requireSchema(session);
          const collected = await collect({
            session,
            ...history,
            mask: maskLiterals,
            dryRun: context.dryRun,
          });
          const { forecasts } = await forecast(session, database);
          for (const [name, days] of measurements(forecasts)) context.measure(name, days);
          const report: CollectHistoryReport = { ...collected, forecasts: worthReporting(forecasts) };
          return done(JSON.parse(JSON.stringify(report)) as Json);
        } finally {
          await session.close();
        }
      },
    }),
  ],
});

/** The soonest end of each kind, of what can be assessed. Exported for tests. */
export function measurements(forecasts: readonly Forecast[]): Map<MetricName, number> {
  const soonest = new Map<MetricName, number>();
  for (const { kind, verdict, days } of forecasts) {
    if (verdict === "not-assessable") continue;
    const name = metricOf[kind];
    const found = verdict === "ends" ? Math.min(days ?? furthestDays, furthestDays) : furthestDays;
    soonest.set(name, Math.min(found, soonest.get(name) ?? furthestDays));
  }
  return soonest;
}

function worthReporting(forecasts: readonly Forecast[]): Forecast[] {
  return forecasts
    .filter(({ kind, verdict, days }) =>
      verdict === "ends" ? (days ?? 0) <= reportedDays : verdict === "not-assessable" && kind !== "key",
    )
    .slice(0, reported);
}
