import type { DatabaseConfig } from "../schema.ts";
import { databaseRule, error, type RuleFinding } from "./rule.ts";

type Finding = Omit<RuleFinding, "database">;
type Database = DatabaseConfig["database"];

const path = (setting: string) => `database.restoreFrom.${setting}`;

export const restoreRules = [
  databaseRule({
    name: "restore-source-complete",
    demand:
      "`database.restoreFrom` names a `snapshotId`, or a `resourceId` with a `time` or `latest: true`; for an instance also the `kmsKeyArn` of the source",
    source:
      "CloudFormation, AWS::RDS::DBInstance and AWS::RDS::DBCluster: a restore is from a snapshot or to a moment; a restored instance keeps the key of its source, and jobs may use only the key they know",
    check: ({ database }) => sourceFindings(database),
  }),
  databaseRule({
    name: "restore-source-fits-topology",
    demand:
      "`database.restoreFrom` names a `db-…` resource or an instance's snapshot for `database.topology: instance`, a `cluster-…` resource for the others",
    source: "Amazon RDS API, RestoreDBInstanceToPointInTime and RestoreDBClusterToPointInTime",
    check: ({ database: { restoreFrom, topology } }) => {
      const kind = topology === "instance" ? "db" : "cluster";
      if (restoreFrom.resourceId !== undefined && !restoreFrom.resourceId.startsWith(`${kind}-`)) {
        return [
          error(
            path("resourceId"),
            `${restoreFrom.resourceId} cannot become the topology ${topology}; give a resource id that begins with ${kind}-, or restore a snapshot`,
            ["database.topology"],
          ),
        ];
      }
      return topology === "instance" && restoreFrom.snapshotId?.includes(":cluster-snapshot:") === true
        ? [
            error(
              path("snapshotId"),
              "is a snapshot of a cluster; give one of an instance, or set database.topology to aurora or multi-az-cluster",
              ["database.topology"],
            ),
          ]
        : [];
    },
  }),
  databaseRule({
    name: "restore-moment-passed",
    demand: "`database.restoreFrom.time` is a moment that has been",
    source: "Amazon RDS API, RestoreTime: before the latest restorable time",
    check: ({ database: { restoreFrom } }, now) => {
      const moment = restoreFrom.time;
      if (moment === undefined) return [];
      const parsed = new Date(moment);
      const real = !Number.isNaN(parsed.getTime()) && parsed.toISOString().startsWith(moment.slice(0, -1));
      if (!real) return [error(path("time"), `${moment} is no moment of the calendar`)];
      return parsed < now
        ? []
        : [error(path("time"), `${moment} is still to come; give a moment that has been`)];
    },
  }),
];

function sourceFindings({ restoreFrom, topology }: Database): Finding[] {
  const { snapshotId, resourceId, time, latest, kmsKeyArn } = restoreFrom;
  if (snapshotId === undefined && resourceId === undefined) {
    return [
      ...(time === undefined ? [] : ["time"]),
      ...(latest ? ["latest"] : []),
      ...(kmsKeyArn === undefined ? [] : ["kmsKeyArn"]),
    ].map((setting) =>
      error(path(setting), "says nothing by itself; give snapshotId, or resourceId for a moment", [
        path("snapshotId"),
        path("resourceId"),
      ]),
    );
  }
  const findings: Finding[] = [];
  if (snapshotId !== undefined && resourceId !== undefined) {
    findings.push(
      error(path("resourceId"), "beside snapshotId; give one of the two, a snapshot or a moment", [
        path("snapshotId"),
      ]),
    );
  } else if (snapshotId !== undefined && (time !== undefined || latest)) {
    findings.push(
      error(
        path(time === undefined ? "latest" : "time"),
        "a snapshot is of one moment; leave it out, or give resourceId instead of snapshotId",
        [path("snapshotId")],
      ),
    );
  } else if (resourceId !== undefined && (time !== undefined) === latest) {
    findings.push(
      error(
        path(latest ? "latest" : "time"),
        latest ? "beside time; give one of the two" : "missing; give time, or latest: true",
        [path("resourceId"), path("time"), path("latest")],
      ),
    );
  }
  if (topology === "instance" && kmsKeyArn === undefined) {
    findings.push(
      error(
        path("kmsKeyArn"),
        "missing; an instance keeps the key of its source: give its ARN (`aws rds describe-db-snapshots` and `describe-db-instances` show it as KmsKeyId)",
        [path("snapshotId"), path("resourceId"), "database.topology"],
      ),
    );
  }
  return findings;
}
