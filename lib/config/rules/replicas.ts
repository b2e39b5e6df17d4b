import { defaultRoutingSchedule, duration, longestPeriodSeconds } from "../schedule.ts";
import type { DatabaseConfig } from "../schema.ts";
import { databaseRule, error, warning } from "./rule.ts";

const defaultRoutingPeriodSeconds = longestPeriodSeconds(defaultRoutingSchedule);

export const replicaRules = [
  databaseRule({
    name: "resume-below-limit",
    demand:
      "`replicas.resumeLagSeconds` and `replicas.resumeLagBytes` are not above `maxLagSeconds` and `maxLagBytes`",
    source: "two thresholds: a replica that resumes above the limit is taken out again at once",
    check: ({ replicas }) => [
      ...(replicas.resumeLagSeconds > replicas.maxLagSeconds
        ? [
            error(
              "replicas.resumeLagSeconds",
              `${replicas.resumeLagSeconds} is above replicas.maxLagSeconds, ${replicas.maxLagSeconds}; a replica would resume and be taken out again`,
              ["replicas.maxLagSeconds"],
            ),
          ]
        : []),
      ...(replicas.resumeLagBytes > replicas.maxLagBytes
        ? [
            error(
              "replicas.resumeLagBytes",
              `${replicas.resumeLagBytes} is above replicas.maxLagBytes, ${replicas.maxLagBytes}; a replica would resume and be taken out again`,
              ["replicas.maxLagBytes"],
            ),
          ]
        : []),
    ],
  }),
  databaseRule({
    name: "lag-limit-outlasts-routing",
    demand:
      "`replicas.maxLagSeconds` is at least twice the longest time between two runs of `schedules.route-replicas`",
    source:
      "a decision is up to one period old when it is replaced: a limit below two periods is passed before routing can react",
    check: (database) => {
      const period = routingPeriodSeconds(database);
      if (database.replicas.count === 0) return [];
      if (period === undefined) {
        return database.schedules["route-replicas"] === "off"
          ? [
              warning(
                "schedules.route-replicas",
                "off, so nobody publishes which replicas may serve reads; give a schedule or set replicas.count to 0",
                ["replicas.count"],
              ),
            ]
          : [];
      }
      return database.replicas.maxLagSeconds < 2 * period
        ? [
            error(
              "replicas.maxLagSeconds",
              `${database.replicas.maxLagSeconds} is not allowed; at least ${2 * period}, twice the longest time between two runs of route-replicas (${duration(period)})`,
              ["schedules.route-replicas", "replicas.count"],
            ),
          ]
        : [];
    },
  }),
  databaseRule({
    name: "replicas-fit-topology",
    demand: "`replicas.count` is 2 with `database.topology: multi-az-cluster`",
    source: "Amazon RDS User Guide, Multi-AZ DB clusters: a writer and two readers, in three zones",
    check: ({ database, replicas }) =>
      database.topology === "multi-az-cluster" && replicas.count !== 2
        ? [
            error(
              "replicas.count",
              `${replicas.count} is not allowed; a multi-az-cluster has exactly 2 readable standbys (leave it out, or choose another database.topology)`,
              ["database.topology"],
            ),
          ]
        : [],
  }),
  databaseRule({
    name: "reader-autoscaling-possible",
    demand:
      "`replicas.maxCount` is for `database.topology: aurora`, with at least one replica and not below `replicas.count`",
    source:
      "Aurora User Guide, Amazon Aurora Auto Scaling with Aurora Replicas: it needs at least one replica to begin with",
    check: ({ database, replicas: { count, maxCount } }) => {
      if (maxCount === undefined) return [];
      const wrong =
        database.topology !== "aurora"
          ? "only Aurora adds readers by itself; leave it out, or set database.topology to aurora"
          : count === 0
            ? "autoscaling needs a replica to begin with; set replicas.count to 1 or more"
            : maxCount < count
              ? `it is below replicas.count, ${count}; at least that`
              : undefined;
      return wrong === undefined
        ? []
        : [
            error("replicas.maxCount", `${maxCount} is not allowed; ${wrong}`, [
              "replicas.count",
              "database.topology",
            ]),
          ];
    },
  }),
];

function routingPeriodSeconds(database: DatabaseConfig): number | undefined {
  const fields = database.schedules["route-replicas"];
  if (fields === undefined) return defaultRoutingPeriodSeconds;
  if (fields === "off") return undefined;
  try {
    return longestPeriodSeconds(fields);
  } catch {
    return undefined;
  }
}
