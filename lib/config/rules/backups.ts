import type { DatabaseConfig } from "../schema.ts";
import { databaseRule, error, type Rule, type RuleFinding, warning } from "./rule.ts";

const quotaSource =
  "Amazon RDS User Guide, Quotas and constraints: 100 manual DB instance snapshots and 100 manual DB cluster snapshots per region, both adjustable";

/** Share of the quota from which the snapshot-quota alarm fires. */
const alarmShare = 0.8;

function kept({ backups }: DatabaseConfig): number {
  return backups.keepDaily + backups.keepWeekly + backups.keepMonthly;
}

/** RDS counts snapshots of instances and of clusters apart. */
function snapshotKind(database: DatabaseConfig): "instance" | "cluster" {
  return database.database.topology === "instance" ? "instance" : "cluster";
}

const snapshotQuota: Rule = {
  name: "snapshot-quota",
  demand:
    "the backups that all databases keep (`keepDaily` + `keepWeekly` + `keepMonthly` each) fit into `account.manualSnapshotsPerRegion`, at home and in each region of `copyToRegions`",
  source: quotaSource,
  check: ({ config }) => {
    const quota = config.account.manualSnapshotsPerRegion;
    const regions = new Set(config.databases.flatMap(({ backups }) => backups.copyToRegions));
    const places = [undefined, ...[...regions].sort()];
    return (["instance", "cluster"] as const).flatMap((kind) => {
      const ofKind = config.databases.filter((database) => snapshotKind(database) === kind);
      return places.flatMap((region) => {
        const here = ofKind.filter(
          ({ backups }) => region === undefined || backups.copyToRegions.includes(region),
        );
        return quotaFinding(here, kind, region, quota);
      });
    });
  },
};

function quotaFinding(
  databases: readonly DatabaseConfig[],
  kind: "instance" | "cluster",
  region: string | undefined,
  quota: number,
): RuleFinding[] {
  const total = databases.reduce((sum, database) => sum + kept(database), 0);
  if (total <= quota * alarmShare) return [];
  const place = region === undefined ? "the home region" : region;
  const shares = databases.map((database) => `${database.key} ${kept(database)}`);
  const listed = shares.length > 8 ? [...shares.slice(0, 8), "…"] : shares;
  const facts = `${total} manual ${kind} snapshots in ${place} (${listed.join(", ")}), and the quota is ${quota}`;
  const remedy =
    "keep fewer (backups.keepDaily, keepWeekly, keepMonthly), or have AWS raise the quota and say so in account.manualSnapshotsPerRegion";
  return [
    {
      severity: total > quota ? "error" : "warning",
      path: "backups",
      others: ["account.manualSnapshotsPerRegion"],
      message:
        total > quota
          ? `${facts}; ${remedy}`
          : `${facts}, so its alarm at ${alarmShare * 100} % fires; ${remedy}`,
    },
  ];
}

export const backupRules: Rule[] = [
  snapshotQuota,
  databaseRule({
    name: "copies-to-distinct-regions",
    demand: "`backups.copyToRegions` names each region once",
    source: "a second copy of the same snapshot has the same name",
    check: ({ backups }) => {
      const twice = backups.copyToRegions.filter((region, index, all) => all.indexOf(region) !== index);
      return twice.length === 0
        ? []
        : [error("backups.copyToRegions", `names ${[...new Set(twice)].join(", ")} twice; each region once`)];
    },
  }),
  databaseRule({
    name: "recovery-point-possible",
    demand: "`backups.drill.maxRpoSeconds` is at least 300",
    source: "Amazon RDS User Guide, point-in-time recovery: transaction logs are stored every 5 minutes",
    check: ({ backups }) =>
      backups.drill.maxRpoSeconds < 300
        ? [
            warning(
              "backups.drill.maxRpoSeconds",
              `${backups.drill.maxRpoSeconds} cannot be held on RDS, which stores the log every 5 minutes; at least 300`,
            ),
          ]
        : [],
  }),
];
