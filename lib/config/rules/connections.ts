import { databaseRule, error, type RuleFinding, warning } from "./rule.ts";

/**
 * Connections that pools must leave free: 3 of superuser_reserved_connections, 3 of AWS's own automation
 * (Aurora User Guide, Maximum connections), and 4 for jobs and people.
 */
const reserved = 10;

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
