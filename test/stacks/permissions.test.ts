import { describe, expect, it } from "vitest";
import { pinnedTag, restoredTag, snapshotTag } from "../../lib/aws/resources.ts";
import { account, Deployed, region } from "../helpers/deployed.ts";
import { allows, type CloudCall, functionIdentities, type NamedPolicy } from "../helpers/permissions.ts";
import { useSynthesizer } from "../helpers/synth.ts";

const synthesizer = useSynthesizer();
const everything: NamedPolicy[] = [
  {
    name: "all",
    policy: { Version: "2012-10-17", Statement: [{ Effect: "Allow", Action: "*", Resource: "*" }] },
  },
];

const topologies = ["instance", "multi-az-cluster", "aurora"] as const;

const assemblyOf = (topology: (typeof topologies)[number]) =>
  synthesizer.named(topology === "instance" ? "two databases" : topology);

interface Names {
  kind: "Cluster" | "Instance";
  /** ARNs. */
  database: string;
  rds: string;
  snapshot(id: string): string;
  /** Of the first resource of a type in the stacks whose names begin so. */
  first(type: string, stack: string): string | undefined;
}

function namesOf(topology: (typeof topologies)[number]): Names {
  const synthesized = assemblyOf(topology);
  const deployed = new Deployed(synthesized);
  const first = (type: string, stack: string) => {
    const found = synthesized.resources.find(
      (resource) => resource.Type === type && resource.stack.startsWith(stack),
    );
    return found === undefined ? undefined : deployed.arnOf(found.stack, found.logicalId);
  };
  const kind = topology === "instance" ? "Instance" : "Cluster";
  const database = first(`AWS::RDS::DB${kind}`, "pgkeep-shop-database");
  if (database === undefined) throw new Error(`no database in ${topology}`);
  const rds = `arn:aws:rds:${region}:${account}`;
  const snapshot = (id: string) => `${rds}:${kind === "Cluster" ? "cluster-snapshot" : "snapshot"}:${id}`;
  return { kind, database, rds, snapshot, first };
}

const snapshotKind = (kind: Names["kind"]) => (kind === "Cluster" ? "DBClusterSnapshot" : "DBSnapshot");
const tagged = (tags: Record<string, string>) =>
  Object.fromEntries(Object.entries(tags).map(([key, value]) => [`aws:ResourceTag/${key}`, value]));
const asked = (tags: Record<string, string>) => ({
  ...Object.fromEntries(Object.entries(tags).map(([key, value]) => [`aws:RequestTag/${key}`, value])),
  "aws:TagKeys": Object.keys(tags)[0] ?? "",
});

/** What no Lambda of pgkeep may ever do to the database `shop` that it looks after, or to anything else. */
const hostileCalls: Record<string, (names: Names) => CloudCall> = {
  "delete the production database": ({ kind, database }) => ({
    action: `rds:DeleteDB${kind}`,
    resource: database,
  }),
  "modify the production database": ({ kind, database }) => ({
    action: `rds:ModifyDB${kind}`,
    resource: database,
  }),
  "stop the production database": ({ kind, database }) => ({
    action: `rds:StopDB${kind}`,
    resource: database,
  }),
  "fail the production database over": ({ kind, database }) => ({
    action: kind === "Cluster" ? "rds:FailoverDBCluster" : "rds:RebootDBInstance",
    resource: database,
  }),
  "make the production database look like a drill's": ({ database }) => ({
    action: "rds:AddTagsToResource",
    resource: database,
    context: asked({ [restoredTag.key]: "drill" }),
  }),
  "delete an instance that nobody tagged": ({ rds }) => ({
    action: "rds:DeleteDBInstance",
    resource: `${rds}:db:pgkeep-shop-2`,
  }),
  "delete an instance of somebody else": ({ rds }) => ({
    action: "rds:DeleteDBInstance",
    resource: `${rds}:db:payroll`,
    context: tagged({ [restoredTag.key]: "somebody" }),
  }),
  "delete a pinned snapshot": ({ kind, snapshot }) => ({
    action: `rds:Delete${snapshotKind(kind)}`,
    resource: snapshot("pgkeep-shop-20260102t030405z"),
    context: tagged({ [snapshotTag]: "shop", [pinnedTag]: "before the migration" }),
  }),
  "take the pin off a snapshot": ({ snapshot }) => ({
    action: "rds:RemoveTagsFromResource",
    resource: snapshot("pgkeep-shop-20260102t030405z"),
    context: { ...tagged({ [snapshotTag]: "shop", [pinnedTag]: "why" }), "aws:TagKeys": pinnedTag },
  }),
  "delete another database's snapshot": ({ kind, snapshot }) => ({
    action: `rds:Delete${snapshotKind(kind)}`,
    resource: snapshot("pgkeep-reports-20260102t030405z"),
    context: tagged({ [snapshotTag]: "reports" }),
  }),
  "delete a snapshot of a database whose name only begins alike": ({ kind, snapshot }) => ({
    action: `rds:Delete${snapshotKind(kind)}`,
    resource: snapshot("pgkeep-shop-eu-20260102t030405z"),
    context: tagged({ [snapshotTag]: "shop-eu" }),
  }),
  "delete a snapshot that pgkeep did not take": ({ kind, snapshot }) => ({
    action: `rds:Delete${snapshotKind(kind)}`,
    resource: snapshot("by-hand"),
  }),
  "share a snapshot": ({ kind, snapshot }) => ({
    action: `rds:Modify${snapshotKind(kind)}Attribute`,
    resource: snapshot("pgkeep-shop-20260102t030405z"),
    context: tagged({ [snapshotTag]: "shop" }),
  }),
  "read another database's secret": ({ first }) => ({
    action: "secretsmanager:GetSecretValue",
    resource:
      first("AWS::SecretsManager::Secret", "pgkeep-reports") ??
      `arn:aws:secretsmanager:${region}:${account}:secret:pgkeep-reports-AbCdEf`,
  }),
  "write a metric into another namespace": () => ({
    action: "cloudwatch:PutMetricData",
    resource: "*",
    context: { "cloudwatch:namespace": "AWS/Billing" },
  }),
  "publish another database's routing": () => ({
    action: "ssm:PutParameter",
    resource: `arn:aws:ssm:${region}:${account}:parameter/pgkeep/reports/routing`,
  }),
  "log in as the master user": () => ({
    action: "rds-db:connect",
    resource: `arn:aws:rds-db:${region}:${account}:dbuser:db-ABCDEFGHIJKL01234/postgres`,
  }),
  "log in to another database": () => ({
    action: "rds-db:connect",
    resource: `arn:aws:rds-db:${region}:${account}:dbuser:db-ABCDEFGHIJKL01234/pgkeep_maintenance`,
  }),
  "destroy the key": ({ first }) => ({
    action: "kms:ScheduleKeyDeletion",
    resource: first("AWS::KMS::Key", "pgkeep-shop") ?? `arn:aws:kms:${region}:${account}:key/none`,
  }),
  "page on behalf of another database": () => ({
    action: "sns:Publish",
    resource: `arn:aws:sns:${region}:${account}:pgkeep-reports-page`,
  }),
  "run another function": () => ({
    action: "lambda:InvokeFunction",
    resource: `arn:aws:lambda:${region}:${account}:function:payroll`,
  }),
  "become somebody else": () => ({
    action: "sts:AssumeRole",
    resource: `arn:aws:iam::${account}:role/administrator`,
  }),
  "hand on a role": () => ({
    action: "iam:PassRole",
    resource: `arn:aws:iam::${account}:role/administrator`,
  }),
};

describe.each(topologies)("Lambdas of a database of topology %s", (topology) => {
  const lambdas = () =>
    functionIdentities(assemblyOf(topology)).filter(({ stack }) => stack.startsWith("pgkeep-shop-"));

  it("exist, and each has policies of its own", () => {
    expect(lambdas().length).toBeGreaterThan(0);
    const roles = lambdas().map(({ role }) => role);
    expect(new Set(roles).size).toBe(roles.length);
    expect(lambdas().filter(({ policies }) => policies.length === 0)).toEqual([]);
  });

  it("name resources as ARNs", () => {
    const strange = lambdas()
      .flatMap(({ policies }) => policies.flatMap(({ policy }) => policy.Statement))
      .flatMap(({ Resource }) => Resource as string | string[])
      .filter((resource) => resource !== "*" && !resource.startsWith("arn:aws:"));
    expect(strange).toEqual([]);
  });

  it.each(Object.entries(hostileCalls))("cannot %s", async (_, callOf) => {
    const call = callOf(namesOf(topology));
    expect(await allows(everything, call), "a call that somebody could make").toBe(true);
    const able: string[] = [];
    for (const lambda of lambdas()) if (await allows(lambda.policies, call)) able.push(lambda.name);
    expect(able).toEqual([]);
  });
});
