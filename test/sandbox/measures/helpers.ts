import { expect } from "vitest";
import type { AwsMetricName } from "../../../lib/alarms/aws-metrics.ts";
import type { LogMetricName } from "../../../lib/alarms/log-metrics.ts";
import type { Measurement } from "../../../lib/sandbox/measures/index.ts";

/** The one value of this metric, of this server or proxy; undefined when it is absent. */
export function maybeValue(
  measured: readonly Measurement[],
  metric: AwsMetricName | LogMetricName,
  of = "primary",
): number | undefined {
  const found = measured.filter(
    ({ id }) => id.metric === metric && (Object.values(id.dimensions)[0] ?? of) === of,
  );
  expect(found.length, `${metric} of ${of}`).toBeLessThanOrEqual(1);
  return found[0]?.value;
}

/** The one value of this metric, which must be there. */
export function valueFor(...asked: Parameters<typeof maybeValue>): number {
  const value = maybeValue(...asked);
  expect(value, `${asked[1]} of ${asked[2] ?? "primary"}`).toBeTypeOf("number");
  return value as number;
}
