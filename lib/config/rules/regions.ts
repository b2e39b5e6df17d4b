import type { DatabaseConfig } from "../schema.ts";
import { databaseRule, error, type Rule, type RuleFinding } from "./rule.ts";

type Finding = Omit<RuleFinding, "database">;

/** The settings that name another region, and the regions that they name. */
function elsewhere({ replicas, backups }: DatabaseConfig): { path: string; regions: readonly string[] }[] {
  const one = (path: string, region: string | undefined) => ({
    path,
    regions: region === undefined ? [] : [region],
  });
  return [
    one("replicas.disasterRecovery.region", replicas.disasterRecovery.region),
    one("backups.replicateToRegion", backups.replicateToRegion),
    { path: "backups.copyToRegions", regions: backups.copyToRegions },
  ];
}

const homeRegion: Rule = {
  name: "home-region-known",
  demand:
    "`account.region` is given when `replicas.disasterRecovery.region` or `backups.replicateToRegion` is, and is none of the other regions that are named",
  source:
    "what stands in two regions names both, and synthesis asks nobody; RDS refuses to replicate or copy a backup to the region that it is in",
  check: ({ config }) => {
    const home = config.account.region;
    return config.databases.flatMap((database): RuleFinding[] =>
      elsewhere(database).flatMap(({ path, regions }): RuleFinding[] => {
        if (regions.length === 0) return [];
        const finding =
          home === undefined
            ? path === "backups.copyToRegions"
              ? undefined
              : error(
                  path,
                  `${regions[0]} needs to know which region it is apart from; give account.region, the region that is deployed to`,
                  ["account.region"],
                )
            : regions.includes(home)
              ? error(path, `${home} is account.region itself; name another region, or leave it out`, [
                  "account.region",
                ])
              : undefined;
        return finding === undefined ? [] : [{ ...finding, database: database.key }];
      }),
    );
  },
};

export const regionRules: Rule[] = [
  homeRegion,
  databaseRule({
    name: "disaster-recovery-possible",
    demand:
      "`replicas.disasterRecovery` has a `region` when anything else is set in it, is for `database.topology: instance`, and names at least two subnets of `existingVpcId`",
    source:
      "Amazon RDS User Guide, Multi-AZ DB clusters: no replication across regions; Aurora User Guide, Replication with Aurora PostgreSQL: no Aurora replicas in other regions; Working with DB subnet groups: two zones",
    check: ({ database, replicas: { disasterRecovery: recovery } }) => [
      ...recoveryRegion(recovery, database.topology),
      ...recoverySubnets(recovery),
    ],
  }),
  databaseRule({
    name: "backup-replication-possible",
    demand:
      "`backups.replicateToRegion` is for `database.topology: instance`; `replicatedDays` and `replicationKeyArn` stand only beside it, and the key is in that region",
    source:
      "Amazon RDS User Guide, Replicating automated backups to another AWS Region: not for Multi-AZ DB clusters; Aurora has no automated backups of instances",
    check: ({ database, backups }) => {
      const region = backups.replicateToRegion;
      if (region === undefined) {
        return (["replicatedDays", "replicationKeyArn"] as const)
          .filter((setting) => backups[setting] !== undefined)
          .map((setting) =>
            error(`backups.${setting}`, "says nothing by itself; give backups.replicateToRegion too"),
          );
      }
      if (database.topology !== "instance") {
        const alternative =
          database.topology === "aurora"
            ? "name the region in backups.copyToRegions, or set database.topology to instance"
            : "a multi-az-cluster can neither replicate nor copy its backups; set database.topology to instance or aurora";
        return [
          error(
            "backups.replicateToRegion",
            `RDS replicates the automated backups of instances only; ${alternative}`,
            ["database.topology"],
          ),
        ];
      }
      const key = backups.replicationKeyArn;
      return key !== undefined && key.split(":")[3] !== region
        ? [
            error(
              "backups.replicationKeyArn",
              `is a key in ${key.split(":")[3]}; give one in ${region}, or leave it out and one is made`,
              ["backups.replicateToRegion"],
            ),
          ]
        : [];
    },
  }),
  databaseRule({
    name: "copies-possible",
    demand: "`backups.copyToRegions` is empty with `database.topology: multi-az-cluster`",
    source: "Amazon RDS User Guide, Limitations of Multi-AZ DB clusters: a snapshot of one cannot be copied",
    check: ({ database, backups }) =>
      database.topology === "multi-az-cluster" && backups.copyToRegions.length > 0
        ? [
            error(
              "backups.copyToRegions",
              "RDS does not copy snapshots of a multi-az-cluster; leave it out, or set database.topology to instance or aurora",
              ["database.topology"],
            ),
          ]
        : [],
  }),
];

type Recovery = DatabaseConfig["replicas"]["disasterRecovery"];

function recoveryRegion(recovery: Recovery, topology: DatabaseConfig["database"]["topology"]): Finding[] {
  const path = "replicas.disasterRecovery.region";
  if (recovery.region === undefined) {
    const given = [
      ...(["instanceClass", "existingVpcId"] as const).filter((setting) => recovery[setting] !== undefined),
      ...(recovery.promoted ? ["promoted"] : []),
    ];
    return given.map((setting) =>
      error(
        `replicas.disasterRecovery.${setting}`,
        "says nothing by itself; give replicas.disasterRecovery.region too",
      ),
    );
  }
  if (topology === "instance") return [];
  const alternative =
    topology === "aurora"
      ? "name the region in backups.copyToRegions and restore there, or put an Aurora global database around the cluster yourself"
      : "a multi-az-cluster replicates within its region only; set database.topology to instance";
  return [
    error(path, `only an instance can have a replica in another region; ${alternative}`, [
      "database.topology",
    ]),
  ];
}

function recoverySubnets({ existingVpcId: vpc, existingSubnetIds: subnets }: Recovery): Finding[] {
  const path = "replicas.disasterRecovery.existingSubnetIds";
  if (vpc === undefined) {
    return subnets.length === 0
      ? []
      : [error(path, "belongs to an existing VPC; give replicas.disasterRecovery.existingVpcId too")];
  }
  return new Set(subnets).size >= 2
    ? []
    : [
        error(path, `at least 2 isolated subnets of ${vpc}, in zones of their own`, [
          "replicas.disasterRecovery.existingVpcId",
        ]),
      ];
}
