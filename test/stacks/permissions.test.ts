import { beforeAll, describe, expect, it } from "vitest";
import { pinnedTag, restoredTag, snapshotTag } from "../../lib/aws/resources.ts";
import { verifiedTag } from "../../lib/aws/tags.ts";
import { account, Deployed, region } from "../helpers/deployed.ts";
import {
  allows,
  type CloudCall,
  type IamStatement,
  type Identity,
  identitiesOf,
} from "../helpers/permissions.ts";
import { useSynthesizer } from "../helpers/synth.ts";

const synthesizer = useSynthesizer();
const everything: IamStatement[] = [{ Effect: "Allow", Action: ["*"], Resource: ["*"] }];

const topologies = ["instance", "multi-az-cluster", "aurora"] as const;

const assemblyOf = (topology: (typeof topologies)[number]) =>
  synthesizer.named(topology === "instance" ? "two databases" : topology);

interface Names {
  kind: "Cluster" | "Instance";
  /** ARNs. */
  database: string;
  rds: string;
  snapshot(id: string): string;
  /** ARN of the role's own function, when it has one. */
  lambda?: string;
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
  "aws:TagKeys": Object.keys(tags),
});

const readerChange = ({
  names = ["readers.pgkeep-shop.internal"],
  types = ["CNAME"],
  actions = ["UPSERT"],
}: {
  names?: string[];
  types?: string[];
  actions?: string[];
}) => ({
  "route53:ChangeResourceRecordSetsNormalizedRecordNames": names,
  "route53:ChangeResourceRecordSetsRecordTypes": types,
  "route53:ChangeResourceRecordSetsActions": actions,
});

/** What no role of pgkeep may ever do to the database `shop` that it looks after, or to anything else. */
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
  "start another database's job": () => ({
    action: "states:StartExecution",
    resource: `arn:aws:states:${region}:${account}:stateMachine:pgkeep-reports-back-up`,
  }),
  "run another database's job": () => ({
    action: "lambda:InvokeFunction",
    resource: `arn:aws:lambda:${region}:${account}:function:pgkeep-reports-vacuum`,
  }),
  "end a run of its own state machine": () => ({
    action: "states:StopExecution",
    resource: `arn:aws:states:${region}:${account}:execution:pgkeep-shop-back-up:scheduled`,
  }),
  "overwrite a version of the routing document": () => ({
    action: "ssm:PutParameter",
    resource: `arn:aws:ssm:${region}:${account}:parameter/pgkeep/shop/routing/versions/0000000007`,
    context: { "ssm:Overwrite": "true" },
  }),
  "change another record of the readers' zone": ({ first }) => ({
    action: "route53:ChangeResourceRecordSets",
    resource: first("AWS::Route53::HostedZone", "pgkeep-shop") ?? "arn:aws:route53:::hostedzone/none",
    context: readerChange({ names: ["mail.pgkeep-shop.internal"] }),
  }),
  "make another kind of record for readers": ({ first }) => ({
    action: "route53:ChangeResourceRecordSets",
    resource: first("AWS::Route53::HostedZone", "pgkeep-shop") ?? "arn:aws:route53:::hostedzone/none",
    context: readerChange({ types: ["TXT"] }),
  }),
  "make a record for readers that may not be there yet": ({ first }) => ({
    action: "route53:ChangeResourceRecordSets",
    resource: first("AWS::Route53::HostedZone", "pgkeep-shop") ?? "arn:aws:route53:::hostedzone/none",
    context: readerChange({ actions: ["CREATE"] }),
  }),
  "make a network interface with its own code": ({ lambda }) => ({
    action: "ec2:CreateNetworkInterface",
    resource: `arn:aws:ec2:${region}:${account}:network-interface/eni-0123456789abcdef0`,
    context: { "lambda:SourceFunctionArn": lambda ?? "" },
  }),
  "take a snapshot in another database's name": ({ database, kind }) => ({
    action: `rds:Create${snapshotKind(kind)}`,
    resource: database,
    context: asked({ [snapshotTag]: "reports" }),
  }),
  "tag a snapshot as another database's": ({ snapshot }) => ({
    action: "rds:AddTagsToResource",
    resource: snapshot("pgkeep-shop-20260102t030405z"),
    context: asked({ [snapshotTag]: "reports" }),
  }),
  "pin a snapshot": ({ snapshot }) => ({
    action: "rds:AddTagsToResource",
    resource: snapshot("pgkeep-shop-20260102t030405z"),
    context: { ...tagged({ [snapshotTag]: "shop" }), ...asked({ [pinnedTag]: "for ever" }) },
  }),
  "pin a snapshot beside its own tag": ({ snapshot }) => ({
    action: "rds:AddTagsToResource",
    resource: snapshot("pgkeep-shop-20260102t030405z"),
    context: {
      ...asked({ [snapshotTag]: "shop", [pinnedTag]: "for ever" }),
      "aws:TagKeys": [snapshotTag, pinnedTag],
    },
  }),
  "mark another database's snapshot as verified": ({ snapshot }) => ({
    action: "rds:AddTagsToResource",
    resource: snapshot("pgkeep-shop-eu-20260102t030405z"),
    context: { ...tagged({ [snapshotTag]: "shop-eu" }), ...asked({ [verifiedTag]: "2026-01-02" }) },
  }),
  "delete the drill of a database whose name only begins alike": ({ kind, rds }) => ({
    action: `rds:DeleteDB${kind}`,
    resource: `${rds}:${kind === "Cluster" ? "cluster" : "db"}:pgkeep-shop-drill-1`,
    context: tagged({ [restoredTag.key]: "drill", [snapshotTag]: "shop-drill" }),
  }),
  "delete what a person has restored": ({ kind, rds }) => ({
    action: `rds:DeleteDB${kind}`,
    resource: `${rds}:${kind === "Cluster" ? "cluster" : "db"}:pgkeep-shop-drill-1`,
    context: tagged({ [restoredTag.key]: "person", [snapshotTag]: "shop" }),
  }),
  "delete the instance of a drill of a database whose name only begins alike": ({ rds }) => ({
    action: "rds:DeleteDBInstance",
    resource: `${rds}:db:pgkeep-shop-drill-1-1`,
    context: tagged({ [restoredTag.key]: "drill", [snapshotTag]: "shop-drill" }),
  }),
  "delete the instance that a person has restored": ({ rds }) => ({
    action: "rds:DeleteDBInstance",
    resource: `${rds}:db:pgkeep-shop-drill-1-1`,
    context: tagged({ [restoredTag.key]: "person", [snapshotTag]: "shop" }),
  }),
  "make an instance in another database's name": ({ rds }) => ({
    action: "rds:CreateDBInstance",
    resource: `${rds}:db:pgkeep-shop-drill-1-1`,
    context: asked({ [snapshotTag]: "reports", [restoredTag.key]: "drill" }),
  }),
  "make an instance that is no drill's": ({ rds }) => ({
    action: "rds:CreateDBInstance",
    resource: `${rds}:db:pgkeep-shop-drill-1-1`,
    context: asked({ [snapshotTag]: "shop", [restoredTag.key]: "person" }),
  }),
  "tag a drill's database as another database's": ({ kind, rds }) => ({
    action: "rds:AddTagsToResource",
    resource: `${rds}:${kind === "Cluster" ? "cluster" : "db"}:pgkeep-shop-drill-1`,
    context: asked({ [snapshotTag]: "reports", [restoredTag.key]: "drill" }),
  }),
  "tag a drill's database as a person's": ({ kind, rds }) => ({
    action: "rds:AddTagsToResource",
    resource: `${rds}:${kind === "Cluster" ? "cluster" : "db"}:pgkeep-shop-drill-1`,
    context: asked({ [snapshotTag]: "shop", [restoredTag.key]: "person" }),
  }),
  "tag a snapshot and not say with what": ({ snapshot }) => ({
    action: "rds:AddTagsToResource",
    resource: snapshot("pgkeep-shop-20260102t030405z"),
    context: tagged({ [snapshotTag]: "shop" }),
  }),
  "restore without a drill's tag": ({ kind, database }) => ({
    action: `rds:RestoreDB${kind}ToPointInTime`,
    resource: database,
    context: asked({ [snapshotTag]: "shop", [restoredTag.key]: "person" }),
  }),
  "restore in another database's name": ({ kind, database }) => ({
    action: `rds:RestoreDB${kind}ToPointInTime`,
    resource: database,
    context: asked({ [snapshotTag]: "reports", [restoredTag.key]: "drill" }),
  }),
  "use the key without RDS": ({ first }) => ({
    action: "kms:CreateGrant",
    resource: first("AWS::KMS::Key", "pgkeep-shop-database") ?? `arn:aws:kms:${region}:${account}:key/none`,
  }),
  "decrypt what is not a secret": ({ first }) => ({
    action: "kms:Decrypt",
    resource: first("AWS::KMS::Key", "pgkeep-shop-database") ?? `arn:aws:kms:${region}:${account}:key/none`,
    context: { "kms:ViaService": `s3.${region}.amazonaws.com` },
  }),
  "hand on a role": () => ({
    action: "iam:PassRole",
    resource: `arn:aws:iam::${account}:role/administrator`,
  }),
};

const known = new Map<string, Identity[]>();
const knownNames = new Map<string, Names>();

/** Each hostile call as this role would make it. */
function hostileFor(topology: (typeof topologies)[number], { lambda }: Identity): [string, CloudCall][] {
  const names = knownNames.get(topology) ?? namesOf(topology);
  knownNames.set(topology, names);
  const own = lambda === undefined ? names : { ...names, lambda: lambda.arn };
  return Object.entries(hostileCalls).map(([what, callOf]) => [what, callOf(own)]);
}

/** What the role could do if it had these statements. */
async function freedBy(
  statements: IamStatement[],
  hostile: readonly [string, CloudCall][],
): Promise<string[]> {
  const freed: string[] = [];
  for (const [what, call] of hostile) if (await allows(statements, call)) freed.push(what);
  return freed;
}

/** The roles in the stacks of the database `shop`. */
function rolesOf(topology: (typeof topologies)[number]): Identity[] {
  const roles =
    known.get(topology) ??
    identitiesOf(assemblyOf(topology)).filter(({ stack }) => stack.startsWith("pgkeep-shop-"));
  known.set(topology, roles);
  return roles;
}

describe.each(topologies)("roles of a database of topology %s", (topology) => {
  const roles = () => rolesOf(topology);

  beforeAll(() => void assemblyOf(topology), 300_000);

  it("exist, and each Lambda has one of its own, with statements of its own", () => {
    const lambdas = roles().filter(({ lambda }) => lambda !== undefined);
    expect(lambdas.length).toBeGreaterThan(5);
    const functions = assemblyOf(topology).resources.filter(
      ({ Type, stack }) => Type === "AWS::Lambda::Function" && stack.startsWith("pgkeep-shop-"),
    );
    expect(lambdas.length).toBe(functions.length);
    expect(lambdas.filter(({ statements }) => statements.length === 0)).toEqual([]);
  });

  it("name resources as ARNs", () => {
    const strange = roles()
      .flatMap(({ statements }) => statements.flatMap(({ Resource }) => Resource))
      .filter((resource) => resource !== "*" && !resource.startsWith("arn:aws:"));
    expect(strange).toEqual([]);
  });

  it("can do nothing hostile", async () => {
    for (const role of roles()) {
      expect(await freedBy(role.statements, hostileFor(topology, role)), role.name).toEqual([]);
    }
  });

  it("are asked about calls that somebody could make", async () => {
    const [anybody] = roles();
    const hostile = anybody === undefined ? [] : hostileFor(topology, anybody);
    expect(await freedBy(everything, hostile)).toEqual(Object.keys(hostileCalls));
  });

  it("have no denial that denies nothing", async () => {
    const idle: string[] = [];
    for (const role of roles()) {
      for (const [index, { Effect, Sid }] of role.statements.entries()) {
        if (Effect !== "Deny") continue;
        const freed = await freedBy(role.statements.toSpliced(index, 1), hostileFor(topology, role));
        if (freed.length === 0) idle.push(`${role.name}: ${Sid}`);
      }
    }
    expect(idle).toEqual([]);
  });

  it("have no condition that could as well be left out", async () => {
    const idle: string[] = [];
    for (const role of roles()) {
      for (const [index, statement] of role.statements.entries()) {
        if (statement.Effect !== "Allow") continue;
        for (const [operator, keys] of Object.entries(statement.Condition ?? {})) {
          for (const key of Object.keys(keys)) {
            const without = role.statements.with(index, withoutCondition(statement, operator, key));
            const freed = await freedBy(without, hostileFor(topology, role));
            if (freed.length === 0) idle.push(`${role.name}, ${statement.Sid}: ${operator} ${key}`);
          }
        }
      }
    }
    expect(idle).toEqual([]);
  });
});

function withoutCondition(statement: IamStatement, operator: string, key: string): IamStatement {
  const { [operator]: keys = {}, ...others } = statement.Condition ?? {};
  const { [key]: _, ...rest } = keys;
  return {
    ...statement,
    Condition: Object.keys(rest).length === 0 ? others : { ...others, [operator]: rest },
  };
}
