import { runSimulation } from "@cloud-copilot/iam-simulate";
import type { GrantStatement } from "../../lib/aws/grants.ts";
import type { PlatformResources } from "../../lib/aws/resources.ts";
import type { RecordedCall } from "./aws-calls.ts";

/** One question to IAM. */
export interface CloudCall {
  action: string;
  resource: string;
  /** What AWS knows of the call and of the resource: tags, names, services. */
  context: Record<string, string | string[]>;
}

/** Whether IAM would allow the call to whoever has these statements and no others. */
export async function allowedBy(statements: readonly GrantStatement[], call: CloudCall): Promise<boolean> {
  const result = await runSimulation(
    {
      request: {
        principal: "arn:aws:iam::123456789012:role/simulated",
        action: call.action,
        resource: { resource: call.resource, accountId: "123456789012" },
        contextVariables: call.context,
      },
      identityPolicies: [
        {
          name: "grants",
          policy: {
            Version: "2012-10-17",
            Statement: statements.map(({ sid, effect = "Allow", actions, resources, conditions }) => ({
              Sid: sid,
              Effect: effect,
              Action: actions,
              Resource: resources,
              ...(conditions === undefined ? {} : { Condition: conditions }),
            })),
          },
        },
      ],
      serviceControlPolicies: [],
      resourceControlPolicies: [],
      ...(call.action.startsWith("kms:") ? { resourcePolicy: keyPolicy } : {}),
    },
    {},
  );
  if (result.resultType === "error") {
    throw new Error(`${call.action} on ${call.resource}: ${JSON.stringify(result.errors)}`);
  }
  return result.overallResult === "Allowed";
}

/** The default policy of a key: IAM decides. Without one, nobody may use it. */
const keyPolicy = {
  Version: "2012-10-17",
  Statement: [
    { Effect: "Allow", Principal: { AWS: "arn:aws:iam::123456789012:root" }, Action: "kms:*", Resource: "*" },
  ],
};

/** The calls that these statements do not allow. */
export async function deniedBy(
  statements: readonly GrantStatement[],
  calls: readonly CloudCall[],
): Promise<CloudCall[]> {
  const denied: CloudCall[] = [];
  for (const call of calls) if (!(await allowedBy(statements, call))) denied.push(call);
  return denied;
}

/** Each way to take one statement, action or resource away from what is allowed, and what was taken. */
export function smallerBy(
  statements: readonly GrantStatement[],
): { without: string; statements: GrantStatement[] }[] {
  return statements.flatMap((statement, index) => {
    if (statement.effect === "Deny") return [];
    const replaced = (by: Partial<GrantStatement>) => statements.with(index, { ...statement, ...by });
    const less = (list: string[], name: "actions" | "resources") =>
      list.map((gone) => ({
        without: `${statement.sid}: ${gone}`,
        statements: replaced({ [name]: list.filter((one) => one !== gone) }).filter(
          ({ actions, resources }) => actions.length > 0 && resources.length > 0,
        ),
      }));
    return [...less(statement.actions, "actions"), ...less(statement.resources, "resources")];
  });
}

interface Tag {
  Key?: string;
  Value?: string;
}

/**
 * What IAM checks for recorded calls: each action on each resource that the call touches, with the tags of the
 * request and those that earlier calls have put on the resource. Also what AWS checks beyond the call itself:
 * tagging when something is made with tags, and the key when RDS copies or restores with it.
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
    const check = (action: string, resource: string, context: CloudCall["context"] = {}): void => {
      const standing = Object.fromEntries(
        [...(tags.get(resource) ?? [])].map(([key, value]) => [`aws:ResourceTag/${key}`, value]),
      );
      found.push({ action, resource, context: { ...standing, ...context } });
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
