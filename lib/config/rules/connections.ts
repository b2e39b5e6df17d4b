import { pooling as poolingSection } from "../sections/pooling.ts";
import { databaseRule, error, type RuleFinding, warning } from "./rule.ts";

/**
 * Connections that pools must leave free: 3 of superuser_reserved_connections, 3 of AWS's own automation
 * (Aurora User Guide, Maximum connections), and 4 for jobs and people.
 */
const reserved = 10;

/** The defaults: who leaves them as they are means neither pooler. */
const pooler = poolingSection.parse({});

export const connectionRules = [
  databaseRule({
    name: "pool-fits-database",
    demand: `\`pooling.poolSize\` + \`reservePoolSize\` leaves ${reserved} of \`database.maxConnections\` free, when that is given`,
    source:
      "PostgreSQL, superuser_reserved_connections (3); Aurora User Guide, Maximum connections (3 for AWS's automation); 4 for jobs and people",
    check: ({ database, pooling }) => {
      const limit = database.maxConnections;
      const wanted = pooling.poolSize + pooling.reservePoolSize;
      if (!pooling.enabled || limit === undefined || wanted <= limit - reserved) return [];
      return [
        error(
          "pooling.poolSize",
          `${pooling.poolSize} and ${pooling.reservePoolSize} in reserve do not fit into database.maxConnections, ${limit}; together at most ${limit - reserved}, because ${reserved} stay free for jobs, people and AWS`,
          ["pooling.reservePoolSize", "database.maxConnections", "pooling.enabled"],
        ),
      ];
    },
  }),
  databaseRule({
    name: "pool-sizes-agree",
    demand:
      "`pooling.reservePoolSize` is not above `poolSize`, and `maxClientConnections` not below it; `roles.application.connectionLimit` lets the pool fill",
    source: "PgBouncer's configuration: default_pool_size, reserve_pool_size, max_client_conn",
    check: ({ pooling, roles }) => {
      if (!pooling.enabled) return [];
      const findings: Omit<RuleFinding, "database">[] = [];
      const wanted = pooling.poolSize + pooling.reservePoolSize;
      if (pooling.reservePoolSize > pooling.poolSize) {
        findings.push(
          error(
            "pooling.reservePoolSize",
            `${pooling.reservePoolSize} is above pooling.poolSize, ${pooling.poolSize}; a reserve is the smaller part`,
            ["pooling.poolSize", "pooling.enabled"],
          ),
        );
      }
      if (pooling.maxClientConnections < wanted) {
        findings.push(
          error(
            "pooling.maxClientConnections",
            `${pooling.maxClientConnections} is below the ${wanted} server connections of the pool; at least ${wanted}`,
            ["pooling.poolSize", "pooling.reservePoolSize", "pooling.enabled"],
          ),
        );
      }
      const limit = roles.application.connectionLimit;
      if (limit >= 0 && limit < pooling.poolSize) {
        findings.push(
          warning(
            "roles.application.connectionLimit",
            `${limit} is below pooling.poolSize, ${pooling.poolSize}; the pool could never fill`,
            ["pooling.poolSize", "pooling.enabled"],
          ),
        );
      }
      return findings;
    },
  }),
  databaseRule({
    name: "reader-endpoint-possible",
    demand:
      "`pooling.readerEndpoint: true` is for `database.topology: aurora`, with at least one replica and `pooling.enabled`",
    source:
      "Amazon RDS User Guide, RDS Proxy endpoints: read-only endpoints are for Aurora; before an instance the proxy serves the writer only",
    check: ({ database, replicas, pooling }) => {
      if (pooling.readerEndpoint !== true) return [];
      const wrong = !pooling.enabled
        ? "there is no proxy; set pooling.enabled to true"
        : database.topology !== "aurora"
          ? `the proxy before ${database.topology === "instance" ? "an instance" : "a multi-az-cluster"} serves its writer only; leave it out and read from the replicas that the routing document names, or set database.topology to aurora`
          : replicas.count === 0
            ? "there is no replica to read from; set replicas.count to 1 or more"
            : undefined;
      return wrong === undefined
        ? []
        : [
            error("pooling.readerEndpoint", wrong, [
              "pooling.enabled",
              "database.topology",
              "replicas.count",
            ]),
          ];
    },
  }),
  databaseRule({
    name: "pooler-hears-settings",
    demand:
      "`pooling.maxClientConnections` and `idleTimeoutSeconds` are for PgBouncer: on AWS, RDS Proxy ignores them (a warning when they are set)",
    source:
      "Amazon RDS API, ConnectionPoolConfiguration and CreateDBProxy: limits are shares of max_connections, and IdleClientTimeout is about clients",
    check: ({ pooling }) =>
      pooling.enabled
        ? [
            ...(pooling.maxClientConnections === pooler.maxClientConnections
              ? []
              : [
                  warning(
                    "pooling.maxClientConnections",
                    `${pooling.maxClientConnections} is for PgBouncer only; RDS Proxy takes clients without a limit and lets them wait pooling.borrowTimeoutSeconds for a connection`,
                    ["pooling.enabled"],
                  ),
                ]),
            ...(pooling.idleTimeoutSeconds === pooler.idleTimeoutSeconds
              ? []
              : [
                  warning(
                    "pooling.idleTimeoutSeconds",
                    `${pooling.idleTimeoutSeconds} is for PgBouncer only; RDS Proxy keeps up to pooling.poolSize idle connections open for as long as it likes`,
                    ["pooling.enabled"],
                  ),
                ]),
          ]
        : [],
  }),
  databaseRule({
    name: "role-limits-fit-database",
    demand: "the connection limits of roles are not above `database.maxConnections`, when that is given",
    source: "PostgreSQL, CREATE ROLE … CONNECTION LIMIT",
    check: ({ database, roles }) =>
      (["application", "reporting"] as const).flatMap((role) => {
        const limit = roles[role].connectionLimit;
        const most = database.maxConnections;
        return most !== undefined && limit > most
          ? [
              error(
                `roles.${role}.connectionLimit`,
                `${limit} is above database.maxConnections, ${most}; at most that, or -1 for no limit`,
                ["database.maxConnections"],
              ),
            ]
          : [];
      }),
  }),
];
