import type { Backups } from "../ports/backups.ts";
import type { GrantStatement } from "./grants.ts";
import { withoutCovered } from "./grants-covered.ts";
import { type PlatformResources, pinnedTag, restoredTag, snapshotTag } from "./resources.ts";
import { verifiedTag } from "./tags.ts";

/** What jobs call. Pinning and restoring for good are a person's, with that person's own rights. */
export const jobBackupCalls = [
  "create",
  "list",
  "remove",
  "recoveryWindow",
  "restore",
  "restored",
  "discard",
  "markVerified",
] as const satisfies readonly (keyof Backups)[];

type JobBackupCall = (typeof jobBackupCalls)[number];

/** Names begin with the database's key, and another key may begin with this one: the tag tells them apart. */
const dated = "the names of backups end with their date";
const drills = "the names of restored databases end with the drill's run";

/** IAM statements for these functions of the port `Backups`, each statement once. */
export function backupStatements(resources: PlatformResources, calls: readonly string[]): GrantStatement[] {
  const makers = statementsByCall(resources);
  const statements = jobBackupCalls.filter((call) => calls.includes(call)).flatMap((call) => makers[call]());
  return withoutCovered(
    statements.filter(({ sid }, index) => statements.findIndex((other) => other.sid === sid) === index),
  );
}

/** What instances and clusters are called in actions and ARNs. */
const words = {
  instance: { thing: "DBInstance", snapshot: "DBSnapshot", arn: "db", snapshotArn: "snapshot", group: "pg" },
  cluster: {
    thing: "DBCluster",
    snapshot: "DBClusterSnapshot",
    arn: "cluster",
    snapshotArn: "cluster-snapshot",
    group: "cluster-pg",
  },
};

function statementsByCall(resources: PlatformResources): Record<JobBackupCall, () => GrantStatement[]> {
  const { partition, account, region, key, primary, topology, copyToRegions, kmsKeyArn, restore } = resources;
  const { thing, snapshot, arn, snapshotArn, group } =
    words[topology === "instance" ? "instance" : "cluster"];
  const rds = (name: string, where = region) => `arn:${partition}:rds:${where}:${account}:${name}`;
  const original = rds(`${arn}:${primary.identifier}`);
  const own = (where: string) => rds(`${snapshotArn}:pgkeep-${key}-*`, where);
  const everywhere = [region, ...copyToRegions].map(own);
  const drill = rds(`${arn}:pgkeep-${key}-drill-*`);
  const drillInstance = rds(`db:pgkeep-${key}-drill-*`);
  const ofThisDatabase = { [`aws:ResourceTag/${snapshotTag}`]: key };
  const madeForDrill = { ...ofThisDatabase, [`aws:ResourceTag/${restoredTag.key}`]: restoredTag.values[0] };
  const taggedForDrill = {
    [`aws:RequestTag/${snapshotTag}`]: key,
    [`aws:RequestTag/${restoredTag.key}`]: restoredTag.values[0],
  };

  const find: GrantStatement = {
    sid: "FindBackups",
    actions: [`rds:Describe${snapshot}s`],
    resources: everywhere,
    reason: dated,
  };
  const list: GrantStatement = {
    sid: "ListBackups",
    actions: [`rds:Describe${snapshot}s`],
    resources: [original, rds(`${snapshotArn}:*`)],
    reason: "RDS checks a list of snapshots against all of them, whatever it is narrowed to",
  };
  const remove: GrantStatement[] = [
    {
      sid: "DeleteBackups",
      actions: [`rds:Delete${snapshot}`],
      resources: everywhere,
      conditions: { StringEquals: ofThisDatabase },
      reason: dated,
    },
    {
      sid: "NeverDeletePinned",
      effect: "Deny",
      actions: [`rds:Delete${snapshot}`],
      resources: everywhere,
      conditions: { Null: { [`aws:ResourceTag/${pinnedTag}`]: "false" } },
      reason: dated,
    },
  ];
  const copies: GrantStatement[] =
    copyToRegions.length === 0
      ? []
      : [
          {
            sid: "CopyBackups",
            actions: [`rds:Copy${snapshot}`],
            resources: everywhere,
            conditions: { StringEquals: { [`aws:RequestTag/${snapshotTag}`]: key } },
            reason: dated,
          },
          useKey([region, ...copyToRegions]),
        ];
  const describeInstances = (which: string, sid: string): GrantStatement => ({
    sid,
    actions: ["rds:DescribeDBInstances"],
    resources: [which],
    reason: drills,
  });
  const findRestored: GrantStatement[] = [
    { sid: "FindRestored", actions: [`rds:Describe${thing}s`], resources: [drill], reason: drills },
    ...(topology === "aurora" ? [describeInstances(drillInstance, "FindRestoredInstances")] : []),
  ];
  const window: GrantStatement =
    topology === "instance"
      ? {
          sid: "ReadRecoveryWindow",
          actions: ["rds:DescribeDBInstanceAutomatedBackups"],
          resources: [original, rds("auto-backup:*")],
          reason: "an automated backup has a name that RDS makes",
        }
      : { sid: "ReadRecoveryWindow", actions: ["rds:DescribeDBClusters"], resources: [original] };

  /** RDS makes grants on the key in the caller's name when it copies or restores what is encrypted with it. */
  function useKey(regions: string[]): GrantStatement {
    const services = regions.map((where) => `rds.${where}.amazonaws.com`);
    const keys = kmsKeyArn.includes(":key/mrk-")
      ? regions.map((where) => kmsKeyArn.replace(`:kms:${region}:`, `:kms:${where}:`))
      : [kmsKeyArn];
    return {
      sid: "UseKey",
      actions: ["kms:CreateGrant", "kms:DescribeKey"],
      resources: keys,
      conditions: { StringEquals: { "kms:ViaService": services } },
    };
  }

  return {
    list: () => [list],
    create: () => [
      find,
      {
        sid: "TakeBackups",
        actions: [`rds:Create${snapshot}`],
        resources: [original, own(region)],
        conditions: { StringEquals: { [`aws:RequestTag/${snapshotTag}`]: key } },
        reason: dated,
      },
      {
        sid: "TagBackups",
        actions: ["rds:AddTagsToResource"],
        resources: everywhere,
        conditions: {
          StringEquals: { [`aws:RequestTag/${snapshotTag}`]: key },
          "ForAllValues:StringEquals": { "aws:TagKeys": [snapshotTag] },
        },
        reason: dated,
      },
      ...copies,
      // A failed one gives its name back.
      ...remove,
    ],
    remove: () => [find, ...remove],
    markVerified: () => [
      { ...find, sid: "FindBackupAtHome", resources: [own(region)] },
      {
        sid: "MarkVerified",
        actions: ["rds:AddTagsToResource"],
        resources: [own(region)],
        conditions: {
          StringEquals: ofThisDatabase,
          "ForAllValues:StringEquals": { "aws:TagKeys": [verifiedTag] },
          Null: { "aws:TagKeys": "false" },
        },
        reason: dated,
      },
    ],
    recoveryWindow: () => [window],
    restored: () => [
      {
        sid: "ListRestored",
        actions: [`rds:Describe${thing}s`],
        resources: [rds(`${arn}:*`)],
        reason: "RDS checks a list of databases against all of them",
      },
    ],
    restore: () => [
      window,
      list,
      ...findRestored,
      {
        sid: "Restore",
        actions: [`rds:Restore${thing}ToPointInTime`],
        resources: [
          original,
          drill,
          rds(`subgrp:${restore.subnetGroupName}`),
          rds(`${group}:${restore.parameterGroupName}`),
          rds("og:default:*"),
        ],
        conditions: { StringEquals: taggedForDrill },
        reason: `${drills}; PostgreSQL has option groups only by default, named by its version`,
      },
      ...(topology === "aurora"
        ? [
            {
              sid: "MakeRestoredInstance",
              actions: ["rds:CreateDBInstance"],
              resources: [drill, drillInstance],
              conditions: { StringEquals: taggedForDrill },
              reason: drills,
            },
          ]
        : []),
      {
        sid: "TagRestored",
        actions: ["rds:AddTagsToResource"],
        resources: topology === "aurora" ? [drill, drillInstance] : [drill],
        conditions: { StringEquals: taggedForDrill },
        reason: drills,
      },
      useKey([region]),
    ],
    discard: () => [
      ...findRestored,
      {
        sid: "DeleteRestored",
        actions: [`rds:Delete${thing}`],
        resources: [drill],
        conditions: { StringEquals: madeForDrill },
        reason: drills,
      },
      ...(topology === "aurora"
        ? [
            {
              sid: "DeleteRestoredInstance",
              actions: ["rds:DeleteDBInstance"],
              resources: [drillInstance],
              conditions: { StringEquals: madeForDrill },
              reason: drills,
            },
          ]
        : []),
    ],
  };
}
