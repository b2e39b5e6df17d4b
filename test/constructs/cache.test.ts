import { Stack } from "aws-cdk-lib";
import { Match, Template } from "aws-cdk-lib/assertions";
import * as iam from "aws-cdk-lib/aws-iam";
import { describe, expect, it } from "vitest";
import { CacheStack } from "../../lib/stacks/cache.ts";
import { configFor } from "../helpers/config.ts";
import { foundationStacks, onlyResource } from "../helpers/stacks.ts";
import { observabilityOf, ofType } from "./observability.ts";

function cacheStack(settings = ""): CacheStack {
  const { app, database } = foundationStacks(
    `{ database: { name: shop }, cache: { enabled: true${settings === "" ? "" : `, ${settings}`} } }`,
  );
  return new CacheStack(app, "Cache", { platform: database.platform });
}

const templateOf = (settings?: string) => Template.fromStack(cacheStack(settings));
const group = (template: Template) => onlyResource(template, "AWS::ElastiCache::ReplicationGroup");

describe("the cache", () => {
  const template = templateOf();
  const { Properties, DeletionPolicy, UpdateReplacePolicy } = group(template);

  it("requires TLS and is encrypted with a rotating key of its own, which outlives it", () => {
    expect(Properties).toMatchObject({
      TransitEncryptionEnabled: true,
      TransitEncryptionMode: "required",
      AtRestEncryptionEnabled: true,
      KmsKeyId: { "Fn::GetAtt": [expect.stringContaining("Key"), "Arn"] },
    });
    expect(onlyResource(template, "AWS::KMS::Key")).toMatchObject({
      DeletionPolicy: "Retain",
      Properties: { EnableKeyRotation: true },
    });
  });

  it("lets in one user, by IAM, who can stop nobody else, and has no password or token anywhere", () => {
    const user = onlyResource(template, "AWS::ElastiCache::User").Properties;
    expect(user).toEqual({
      Engine: "valkey",
      UserId: "pgkeep-shop-app",
      UserName: "pgkeep-shop-app",
      AuthenticationMode: { Type: "iam" },
      AccessString: "on ~* &* +@all -@dangerous +info",
    });
    expect(onlyResource(template, "AWS::ElastiCache::UserGroup").Properties.UserIds).toHaveLength(1);
    expect(Properties.UserGroupIds).toHaveLength(1);
    expect(Properties.AuthToken).toBeUndefined();
    expect(JSON.stringify(template.toJSON())).not.toMatch(/password/i);
  });

  it("stands in the isolated subnets and admits the database's applications only", () => {
    const { SubnetIds } = onlyResource(template, "AWS::ElastiCache::SubnetGroup").Properties;
    expect(SubnetIds).toHaveLength(3);
    const { SecurityGroupIngress } = onlyResource(template, "AWS::EC2::SecurityGroup").Properties;
    expect(SecurityGroupIngress).toBeUndefined();
    const admitted = onlyResource(template, "AWS::EC2::SecurityGroupIngress").Properties;
    expect(admitted).toMatchObject({ FromPort: 6379, ToPort: 6379, IpProtocol: "tcp" });
    expect(JSON.stringify(admitted.SourceSecurityGroupId)).toContain("ApplicationGroup");
  });

  it("has a replica in another zone that takes over, and follows patches in its window", () => {
    expect(Properties).toMatchObject({
      Engine: "valkey",
      EngineVersion: "8.1",
      CacheNodeType: "cache.m7g.large",
      NumCacheClusters: 2,
      AutomaticFailoverEnabled: true,
      MultiAZEnabled: true,
      AutoMinorVersionUpgrade: true,
      PreferredMaintenanceWindow: "sun:06:00-sun:07:00",
    });
  });

  it("keeps daily snapshots, and one when it is deleted", () => {
    expect(Properties).toMatchObject({ SnapshotRetentionLimit: 1, SnapshotWindow: "05:00-06:00" });
    expect({ DeletionPolicy, UpdateReplacePolicy }).toEqual({
      DeletionPolicy: "Snapshot",
      UpdateReplacePolicy: "Snapshot",
    });
  });

  it("sends its engine's log to an encrypted group that forgets", () => {
    const [id] = Object.keys(template.findResources("AWS::Logs::LogGroup"));
    expect(Properties.LogDeliveryConfigurations).toEqual([
      {
        LogType: "engine-log",
        LogFormat: "json",
        DestinationType: "cloudwatch-logs",
        DestinationDetails: { CloudWatchLogsDetails: { LogGroup: { Ref: id } } },
      },
    ]);
    template.hasResourceProperties("AWS::Logs::LogGroup", {
      RetentionInDays: 90,
      KmsKeyId: Match.anyValue(),
    });
  });
});

describe("what is configured for the cache", () => {
  it("may be one node, without snapshots", () => {
    const { Properties, DeletionPolicy } = group(templateOf("replicas: 0, snapshotRetentionDays: 0"));
    expect(Properties).toMatchObject({
      NumCacheClusters: 1,
      AutomaticFailoverEnabled: false,
      MultiAZEnabled: false,
      SnapshotRetentionLimit: 0,
    });
    expect(Properties.SnapshotWindow).toBeUndefined();
    expect(DeletionPolicy).toBe("Delete");
  });

  it.each([
    ["7.2", "valkey7"],
    ["8.0", "valkey8"],
  ])("has the parameters of the family of Valkey %s", (version, family) => {
    const template = templateOf(`engineVersion: ${version}, maxMemoryPolicy: volatile-ttl`);
    expect(group(template).Properties.EngineVersion).toBe(version);
    expect(onlyResource(template, "AWS::ElastiCache::ParameterGroup").Properties).toMatchObject({
      CacheParameterGroupFamily: family,
      Properties: { "maxmemory-policy": "volatile-ttl" },
    });
  });

  it("lets an application log in to this cache as this user and nothing else", () => {
    const stack = cacheStack();
    const other = new Stack(stack, "application");
    const role = new iam.Role(other, "Role", {
      assumedBy: new iam.ServicePrincipal("ecs-tasks.amazonaws.com"),
    });
    stack.cache.grantConnect(role);
    const policy = onlyResource(Template.fromStack(other), "AWS::IAM::Policy").Properties.PolicyDocument;
    const { Statement } = policy as { Statement: { Resource: unknown[] }[] };
    expect(Statement).toMatchObject([{ Effect: "Allow", Action: "elasticache:Connect" }]);
    const ends = Statement[0]?.Resource.map(
      (arn) => /elasticache:.*?"(:[^"]+)"\]/.exec(JSON.stringify(arn))?.[1],
    );
    expect(ends).toEqual([":replicationgroup:pgkeep-shop", ":user:pgkeep-shop-app"]);
  });
});

describe("alarms of the cache", () => {
  const { resources } = observabilityOf(
    configFor("shop", { cache: { enabled: true, maxMemoryPolicy: "noeviction" } }),
  );
  const alarms = ofType(resources, "AWS::CloudWatch::Alarm").filter(
    ({ properties }) => properties.Namespace === "AWS/ElastiCache",
  );

  it("look at each node under its own identifier, and know every metric's name", () => {
    const seen = alarms.map(({ properties }) => [
      properties.MetricName,
      (properties.Dimensions as { Name: string; Value: string }[])
        .map(({ Name, Value }) => `${Name}=${Value}`)
        .join(),
    ]);
    const metrics = [
      "AuthenticationFailures",
      "CurrConnections",
      "DatabaseMemoryUsagePercentage",
      "EngineCPUUtilization",
      "Evictions",
      "ReplicationLag",
    ];
    const expected = metrics.flatMap((metric) =>
      ["001", "002"].map((node) => [metric, `CacheClusterId=pgkeep-shop-${node}`]),
    );
    expect(seen.toSorted()).toEqual(expected);
  });

  it("are not there without a cache", () => {
    const without = observabilityOf(configFor("shop", { cache: { maxMemoryPolicy: "noeviction" } }));
    expect(JSON.stringify(without.template.toJSON())).not.toContain("ElastiCache");
  });
});
