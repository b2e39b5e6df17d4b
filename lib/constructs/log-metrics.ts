import { CfnMetricFilter } from "aws-cdk-lib/aws-logs";
import { Construct } from "constructs";
import { filterPattern, logMetricNamespace, logMetrics } from "../alarms/log-metrics.ts";
import type { Measured } from "./measured.ts";

/**
 * What CloudWatch counts in the logs that RDS exports: all servers of a database into one metric. The groups must
 * exist: the database's stack makes them.
 */
export class LogMetrics extends Construct {
  constructor(scope: Construct, id: string, { databaseKey, logGroups }: Measured) {
    super(scope, id);
    for (const [name, definition] of Object.entries(logMetrics)) {
      for (const [index, logGroupName] of logGroups.entries()) {
        new CfnMetricFilter(this, `${name}${index + 1}`, {
          logGroupName,
          filterName: `pgkeep-${name}`,
          filterPattern: filterPattern(definition),
          metricTransformations: [
            {
              metricNamespace: logMetricNamespace(databaseKey),
              metricName: name,
              metricValue: "1",
              defaultValue: 0,
              unit: definition.unit,
            },
          ],
        });
      }
    }
  }
}
