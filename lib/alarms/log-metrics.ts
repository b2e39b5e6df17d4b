import { type MetricKind, type MetricUnit, metricNamespace } from "./metrics.ts";

export interface LogMetricDefinition {
  unit: MetricUnit;
  kind: MetricKind;
  /** Which of the logs that RDS exports. */
  log: "postgresql";
  /** A line with one of these texts counts once. Case matters. */
  anyOf: readonly string[];
  help: string;
}

/** What CloudWatch counts in the exported logs of every server of a database. */
export const logMetrics = {
  FailedLogins: {
    unit: "Count",
    kind: "delta",
    log: "postgresql",
    // PostgreSQL logs one such line for each refused login (auth_failed, auth.c); RDS checks IAM tokens through PAM.
    anyOf: ["password authentication failed", "PAM authentication failed", "no pg_hba.conf entry for"],
    help: "Logins that a server has refused",
  },
} as const satisfies Record<string, LogMetricDefinition>;

export type LogMetricName = keyof typeof logMetrics;

/** A metric filter cannot add a dimension of its own to a line of text, so each database has a namespace. */
export function logMetricNamespace(databaseKey: string): string {
  return `${metricNamespace}/${databaseKey}`;
}

/**
 * The filter in CloudWatch's syntax for unstructured lines: terms with a question mark are alternatives
 * (Amazon CloudWatch Logs User Guide, Filter pattern syntax).
 */
export function filterPattern({ anyOf }: Pick<LogMetricDefinition, "anyOf">): string {
  return anyOf.map((text) => `?"${text}"`).join(" ");
}
