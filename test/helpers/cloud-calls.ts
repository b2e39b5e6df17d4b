import type { GrantStatement } from "../../lib/aws/grants.ts";
import type { PlatformResources } from "../../lib/aws/resources.ts";
import type { RecordedCall } from "./aws-calls.ts";
import type { CloudCall, IamStatement } from "./permissions.ts";

/** Grants as the policy that the constructs make of them. */
export function asStatements(grants: readonly GrantStatement[]): IamStatement[] {
  return grants.map(({ sid, effect = "Allow", actions, resources, conditions }) => ({
    Sid: sid,
    Effect: effect,
    Action: actions,
    Resource: resources,
    ...(conditions === undefined ? {} : { Condition: conditions }),
  }));
}

interface Tag {
  Key?: string;
  Value?: string;
}

/**
 * What IAM checks for recorded calls: each action on each resource that the call touches, with the tags of the
 * request and those that earlier calls have put on the resource. Also what AWS checks beyond the call itself:
 * tagging when something is made with tags, and the key when RDS copies or restores with it, or when Secrets
 * Manager reads or writes.
 */
export function cloudCallsOf(recorded: readonly RecordedCall[], resources: PlatformResources): CloudCall[] {
  const { partition, account, kmsKeyArn } = resources;
  const tags = new Map<string, Map<string, string>>();
  const found: CloudCall[] = [];
  // A list without a name is of things with any name.
  for (const call of recorded) {
    const input = call.input as Record<string, string | undefined> & { Tags?: Tag[] | undefined };
    const rds = (kind: string, name: string | undefined) =>
      `arn:${partition}:rds:${call.region}:${account}:${kind}:${name ?? "whatever"}`;
    const ssm = (name: string | undefined) =>
      `arn:${partition}:ssm:${call.region}:${account}:parameter${name ?? ""}`;
    const given = (input.Tags ?? []) as Tag[];
    const check = (
      action: string,
      resource: string,
      context: NonNullable<CloudCall["context"]> = {},
    ): void => {
      const standing = Object.fromEntries(
        [...(tags.get(resource) ?? [])].map(([key, value]) => [`aws:ResourceTag/${key}`, value]),
      );
      if (call.arranged !== true) found.push({ action, resource, context: { ...standing, ...context } });
    };
    const requestTags = {
      ...Object.fromEntries(given.map(({ Key, Value }) => [`aws:RequestTag/${Key}`, Value ?? ""])),
      ...(given.length === 0 ? {} : { "aws:TagKeys": given.map(({ Key }) => Key ?? "") }),
    };
    const make = (target: string, others: string[]) => {
      for (const resource of [target, ...others]) check(call.action, resource, requestTags);
      check("rds:AddTagsToResource", target, requestTags);
      tags.set(target, new Map(given.map(({ Key = "", Value = "" }) => [Key, Value])));
    };
    const useKey = (region: string) => {
      for (const action of ["kms:CreateGrant", "kms:DescribeKey"]) {
        check(action, kmsKeyArn, { "kms:ViaService": `rds.${region}.amazonaws.com` });
      }
    };
    const secret = (...keyActions: string[]) => {
      check(call.action, input.SecretId ?? "");
      for (const action of keyActions) {
        check(action, kmsKeyArn, { "kms:ViaService": `secretsmanager.${call.region}.amazonaws.com` });
      }
    };
    const groups = (group: string, name: string | undefined) => [
      rds("subgrp", input.DBSubnetGroupName),
      rds(group, name),
      rds("og", "default:postgres-17"),
    ];
    const touch: Record<string, () => void> = {
      "rds:DescribeDBSnapshots": () => {
        check(call.action, rds("snapshot", input.DBSnapshotIdentifier));
        if (input.DBInstanceIdentifier !== undefined)
          check(call.action, rds("db", input.DBInstanceIdentifier));
      },
      "rds:DescribeDBClusterSnapshots": () => {
        check(call.action, rds("cluster-snapshot", input.DBClusterSnapshotIdentifier));
        if (input.DBClusterIdentifier !== undefined) {
          check(call.action, rds("cluster", input.DBClusterIdentifier));
        }
      },
      "rds:CreateDBSnapshot": () =>
        make(rds("snapshot", input.DBSnapshotIdentifier), [rds("db", input.DBInstanceIdentifier)]),
      "rds:CreateDBClusterSnapshot": () =>
        make(rds("cluster-snapshot", input.DBClusterSnapshotIdentifier), [
          rds("cluster", input.DBClusterIdentifier),
        ]),
      "rds:CopyDBSnapshot": () => {
        make(rds("snapshot", input.TargetDBSnapshotIdentifier), [input.SourceDBSnapshotIdentifier ?? ""]);
        for (const region of [resources.region, call.region]) useKey(region);
      },
      "rds:CopyDBClusterSnapshot": () => {
        make(rds("cluster-snapshot", input.TargetDBClusterSnapshotIdentifier), [
          input.SourceDBClusterSnapshotIdentifier ?? "",
        ]);
        for (const region of [resources.region, call.region]) useKey(region);
      },
      "rds:DeleteDBSnapshot": () => check(call.action, rds("snapshot", input.DBSnapshotIdentifier)),
      "rds:DeleteDBClusterSnapshot": () =>
        check(call.action, rds("cluster-snapshot", input.DBClusterSnapshotIdentifier)),
      "rds:AddTagsToResource": () => {
        const resource = input.ResourceName ?? "";
        check(call.action, resource, requestTags);
        const merged = new Map(tags.get(resource));
        for (const { Key = "", Value = "" } of given) merged.set(Key, Value);
        tags.set(resource, merged);
      },
      "rds:RemoveTagsFromResource": () => check(call.action, input.ResourceName ?? ""),
      "rds:DescribeDBInstances": () => check(call.action, rds("db", input.DBInstanceIdentifier)),
      "rds:DescribeDBClusters": () => check(call.action, rds("cluster", input.DBClusterIdentifier)),
      "rds:DescribeDBInstanceAutomatedBackups": () => {
        check(call.action, rds("db", input.DBInstanceIdentifier));
        check(call.action, rds("auto-backup", undefined));
      },
      "rds:RestoreDBInstanceToPointInTime": () => {
        make(rds("db", input.TargetDBInstanceIdentifier), [
          rds("db", input.SourceDBInstanceIdentifier),
          ...groups("pg", input.DBParameterGroupName),
        ]);
        useKey(call.region);
      },
      "rds:RestoreDBClusterToPointInTime": () => {
        make(rds("cluster", input.DBClusterIdentifier), [
          rds("cluster", input.SourceDBClusterIdentifier),
          ...groups("cluster-pg", input.DBClusterParameterGroupName),
        ]);
        useKey(call.region);
      },
      "rds:CreateDBInstance": () =>
        make(rds("db", input.DBInstanceIdentifier), [rds("cluster", input.DBClusterIdentifier)]),
      "rds:DeleteDBInstance": () => check(call.action, rds("db", input.DBInstanceIdentifier)),
      "rds:DeleteDBCluster": () => check(call.action, rds("cluster", input.DBClusterIdentifier)),
      "ssm:GetParameter": () => check(call.action, ssm(input.Name)),
      "ssm:GetParameters": () => each(call.input.Names).map((name) => check(call.action, ssm(name))),
      "ssm:GetParametersByPath": () => check(call.action, ssm(input.Path)),
      "ssm:DeleteParameters": () => each(call.input.Names).map((name) => check(call.action, ssm(name))),
      "ssm:PutParameter": () =>
        check(call.action, ssm(input.Name), { "ssm:Overwrite": String(call.input.Overwrite === true) }),
      "route53:ListResourceRecordSets": () => check(call.action, zone(partition, input.HostedZoneId)),
      "route53:ChangeResourceRecordSets": () => {
        const batch = call.input.ChangeBatch as {
          Changes: { Action: string; ResourceRecordSet: { Name: string; Type: string } }[];
        };
        const distinct = (values: string[]) => [...new Set(values)];
        check(call.action, zone(partition, input.HostedZoneId), {
          "route53:ChangeResourceRecordSetsNormalizedRecordNames": distinct(
            batch.Changes.map(({ ResourceRecordSet }) =>
              ResourceRecordSet.Name.toLowerCase().replace(/\.$/, ""),
            ),
          ),
          "route53:ChangeResourceRecordSetsRecordTypes": distinct(
            batch.Changes.map(({ ResourceRecordSet }) => ResourceRecordSet.Type),
          ),
          "route53:ChangeResourceRecordSetsActions": distinct(batch.Changes.map(({ Action }) => Action)),
        });
      },
      "secretsmanager:GetSecretValue": () => secret("kms:Decrypt"),
      "secretsmanager:PutSecretValue": () => secret("kms:GenerateDataKey", "kms:Decrypt"),
      "secretsmanager:DescribeSecret": () => secret(),
      "secretsmanager:UpdateSecretVersionStage": () => secret(),
      "sns:Publish": () => check(call.action, input.TopicArn ?? ""),
    };
    const known = touch[call.action];
    if (known === undefined) throw new Error(`nobody has said which resources ${call.action} touches`);
    known();
  }
  return found;
}

const each = (names: unknown): string[] => names as string[];
const zone = (partition: string, id: string | undefined) => `arn:${partition}:route53:::hostedzone/${id}`;
