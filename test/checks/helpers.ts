import type { Check, CheckOutcome, CounterSample } from "../../lib/checks/check.ts";
import { checkHealth, type HealthReport, type HealthResult } from "../../lib/checks/health.ts";
import type { PreviousSample } from "../../lib/checks/samples.ts";
import { type DatabaseConfig, databaseConfigSchema } from "../../lib/config/schema.ts";
import type { Session } from "../../lib/ports/databases.ts";

export type Limits = Partial<Record<keyof DatabaseConfig, Record<string, unknown>>>;

/** The defaults, with some settings given; they need not be within the file's limits. */
export function configWith(limits: Limits = {}): DatabaseConfig {
  const defaults = databaseConfigSchema.parse({});
  const merged = Object.fromEntries(
    Object.entries(defaults).map(([section, values]) => [
      section,
      { ...values, ...limits[section as keyof DatabaseConfig] },
    ]),
  );
  return { ...merged, key: "test" } as unknown as DatabaseConfig;
}

/** One check through the same door as all: with its session settings, its isolation and its metrics. */
export async function ask(
  check: Check,
  session: Session,
  limits: Limits = {},
  previous?: PreviousSample,
): Promise<HealthResult & { metrics: CheckOutcome["metrics"]; report: HealthReport }> {
  const report = await checkHealth({
    session,
    config: configWith(limits),
    now: new Date(),
    checks: [check],
    ...(previous === undefined ? {} : { previous }),
  });
  const result = report.results[0];
  if (result === undefined) throw new Error("the check gave no result");
  return { ...result, metrics: report.metrics, report };
}

/** A report as the next run reads it back. */
export function sampleOf(report: HealthReport): { sample: CounterSample } {
  const stored = JSON.parse(JSON.stringify(report)) as HealthReport;
  return {
    sample: {
      takenAt: new Date(stored.takenAt),
      resetAt: stored.resetAt === null ? null : new Date(stored.resetAt),
      counters: stored.counters,
    },
  };
}

export function metricOf(
  metrics: CheckOutcome["metrics"],
  name: string,
  dimensions: Record<string, string> = {},
): number | undefined {
  return metrics.find(
    (one) => one.name === name && JSON.stringify(one.dimensions) === JSON.stringify(dimensions),
  )?.value;
}

/** Waits until `condition` holds; fails after ten seconds. */
export async function eventually<T>(what: string, condition: () => Promise<T | undefined>): Promise<T> {
  const end = Date.now() + 30_000;
  for (;;) {
    const value = await condition();
    if (value !== undefined) return value;
    if (Date.now() > end) throw new Error(`${what} did not happen within 30 s`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
