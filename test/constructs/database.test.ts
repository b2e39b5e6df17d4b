import { Stack } from "aws-cdk-lib";
import { Template } from "aws-cdk-lib/assertions";
import { Vpc } from "aws-cdk-lib/aws-ec2";
import { describe, expect, it } from "vitest";
import { defaultConfig } from "../../lib/config/load.ts";
import type { DatabaseConfig } from "../../lib/config/schema.ts";
import { PostgresDatabase } from "../../lib/constructs/database.ts";
import { IsolatedNetwork } from "../../lib/constructs/network.ts";
import { UsageError } from "../../lib/errors.ts";
import { configFor } from "../helpers/config.ts";
import {
  foundationStacks,
  foundationTemplates,
  onlyResource,
  resourcesOf,
  testApp,
  thrownBy,
} from "../helpers/stacks.ts";

const texts = {
  instance: "database: {name: shop}",
  "multi-az-cluster": "database: {name: shop, topology: multi-az-cluster}",
  aurora: "database: {name: shop, topology: aurora}",
  serverless:
    "database: {name: shop, topology: aurora, instanceClass: serverless}\nreplicas: {count: 1, maxCount: 4}",
};

const templateOf = (name: keyof typeof texts) => foundationTemplates(texts[name]).database;
const platformOf = (name: keyof typeof texts) => foundationTemplates(texts[name]).stacks.database.platform;

/** What holds the data: the primary instance, or the cluster. */
function dataOf(name: keyof typeof texts) {
  const template = templateOf(name);
  if (name !== "instance") return onlyResource(template, "AWS::RDS::DBCluster");
  const primary = resourcesOf(template, "AWS::RDS::DBInstance").find(
    ({ Properties }) => Properties.SourceDBInstanceIdentifier === undefined,
  );
  if (primary === undefined) throw new Error("no primary");
  return primary;
}

describe.each(Object.keys(texts) as (keyof typeof texts)[])("%s", (name) => {
  it("takes a final snapshot when it is deleted and when it is replaced", () => {
    expect(dataOf(name)).toMatchObject({ DeletionPolicy: "Snapshot", UpdateReplacePolicy: "Snapshot" });
  });

  it("can be restored to each moment of its days, and is protected", () => {
    expect(dataOf(name).Properties).toMatchObject({
      BackupRetentionPeriod: 14,
      PreferredBackupWindow: "22:00-22:30",
      DeletionProtection: true,
      CopyTagsToSnapshot: true,
      DeleteAutomatedBackups: false,
    });
  });

  it("is encrypted with a key of its own that is rotated and outlives the stack", () => {
    const key = onlyResource(templateOf(name), "AWS::KMS::Key");
    expect(key).toMatchObject({ DeletionPolicy: "Retain", Properties: { EnableKeyRotation: true } });
    expect(dataOf(name).Properties.StorageEncrypted).toBe(true);
    expect(JSON.stringify(dataOf(name).Properties.KmsKeyId)).toContain("DatabaseKey");
  });

  it("encrypts logs, insights and secrets with it too", () => {
    for (const type of ["AWS::Logs::LogGroup", "AWS::SecretsManager::Secret"]) {
      for (const { Properties } of resourcesOf(templateOf(name), type)) {
        expect(JSON.stringify(Properties.KmsKeyId), type).toContain("DatabaseKey");
      }
    }
    const measured = [
      ...resourcesOf(templateOf(name), "AWS::RDS::DBInstance"),
      ...resourcesOf(templateOf(name), "AWS::RDS::DBCluster"),
    ].filter(
      ({ Properties }) =>
        Properties.EnablePerformanceInsights === true || Properties.PerformanceInsightsEnabled === true,
    );
    expect(measured.length).toBeGreaterThan(0);
    for (const { Properties } of measured) {
      expect(
        JSON.stringify(Properties.PerformanceInsightsKMSKeyId ?? Properties.PerformanceInsightsKmsKeyId),
      ).toContain("DatabaseKey");
    }
  });

  it("pins the major version, and is in no Extended Support", () => {
    expect(dataOf(name).Properties).toMatchObject({
      EngineVersion: "17",
      EngineLifecycleSupport: "open-source-rds-extended-support-disabled",
    });
  });

  it("takes IAM logins, and a master password that it made itself", () => {
    const { Properties } = dataOf(name);
    expect(Properties.EnableIAMDatabaseAuthentication).toBe(true);
    expect(Properties.ManageMasterUserPassword).toBeUndefined();
    expect(JSON.stringify(Properties.MasterUserPassword)).toContain("{{resolve:secretsmanager:");
    templateOf(name).resourceCountIs("AWS::SecretsManager::SecretTargetAttachment", 1);
  });

  it("forces TLS", () => {
    const [group] = [
      ...resourcesOf(templateOf(name), "AWS::RDS::DBParameterGroup"),
      ...resourcesOf(templateOf(name), "AWS::RDS::DBClusterParameterGroup"),
    ];
    expect(group?.Properties.Parameters).toMatchObject({ "rds.force_ssl": "1" });
  });

  it("has no public server", () => {
    const servers = resourcesOf(templateOf(name), "AWS::RDS::DBInstance");
    for (const { Properties } of servers) expect(Properties.PubliclyAccessible).toBe(false);
    if (name === "multi-az-cluster") expect(dataOf(name).Properties.PubliclyAccessible).toBe(false);
  });

  it("lets minors follow, with certificates of the current authority", () => {
    const servers = resourcesOf(templateOf(name), "AWS::RDS::DBInstance");
    for (const { Properties } of servers) {
      expect(Properties).toMatchObject({
        AutoMinorVersionUpgrade: true,
        CACertificateIdentifier: "rds-ca-rsa2048-g1",
        PreferredMaintenanceWindow: "sat:22:30-sat:23:30",
        MonitoringInterval: 60,
      });
    }
  });

  it("keeps exported logs for a limited time, in groups made beforehand", () => {
    const groups = resourcesOf(templateOf(name), "AWS::Logs::LogGroup");
    expect(groups.length).toBeGreaterThan(0);
    for (const { Properties } of groups) {
      expect(Properties.RetentionInDays).toBe(90);
      expect(Properties.LogGroupName).toMatch(
        /^\/aws\/rds\/(instance|cluster)\/pgkeep-shop[-\w]*\/(postgresql|upgrade)$/,
      );
    }
    const exported = dataOf(name).Properties.EnableCloudwatchLogsExports as string[];
    const own = groups.filter(({ Properties }) => String(Properties.LogGroupName).includes("/pgkeep-shop/"));
    expect(own.map(({ Properties }) => String(Properties.LogGroupName).split("/").at(-1)).toSorted()).toEqual(
      exported.toSorted(),
    );
    expect(JSON.stringify(dataOf(name).DependsOn)).toContain("Logpgkeepshoppostgresql");
  });

  it("admits by security group only", () => {
    const template = templateOf(name);
    for (const { Properties } of resourcesOf(template, "AWS::EC2::SecurityGroup")) {
      expect(Properties.SecurityGroupIngress).toBeUndefined();
    }
    const rules = resourcesOf(template, "AWS::EC2::SecurityGroupIngress");
    expect(rules.length).toBe(2);
    for (const { Properties } of rules) {
      expect(Properties.SourceSecurityGroupId).toBeDefined();
      expect(Properties).not.toHaveProperty("CidrIp");
      expect([Properties.FromPort, Properties.ToPort]).toEqual([5432, 5432]);
    }
  });

  it("lets jobs reach the database and nothing else", () => {
    const rules = resourcesOf(templateOf(name), "AWS::EC2::SecurityGroupEgress");
    for (const { Properties } of rules) {
      expect(JSON.stringify(Properties.DestinationSecurityGroupId)).toContain("DatabaseGroup");
      expect(Properties.FromPort).toBe(5432);
    }
  });

  it("names servers and metrics in lower case", () => {
    const { resources, metricDimensions } = platformOf(name);
    const identifiers = [
      resources.primary.identifier,
      ...resources.replicas.map(({ identifier }) => identifier),
      ...Object.entries(metricDimensions.primary).flatMap(([key, value]) => (key === "Role" ? [] : [value])),
      ...Object.values(metricDimensions.proxy ?? {}),
    ];
    for (const identifier of identifiers) expect(identifier).toMatch(/^pgkeep-shop(-[a-z0-9-]+)?$/);
  });

  it("tells jobs where a restored server goes: as private as this one", () => {
    const { resources } = platformOf(name);
    const stack = foundationTemplates(texts[name]).stacks.database;
    const { subnetGroupName, securityGroupIds, parameterGroupName } = stack.resolve(
      resources.restore,
    ) as typeof resources.restore;
    expect(JSON.stringify(subnetGroupName)).toContain("DatabaseSubnets");
    expect(JSON.stringify(securityGroupIds)).toContain("DatabaseGroup");
    expect(JSON.stringify(parameterGroupName)).toContain("DatabaseParameters");
  });
});

describe("an instance", () => {
  it("has a standby, gp3 storage that grows, and two replicas", () => {
    expect(dataOf("instance").Properties).toMatchObject({
      DBInstanceIdentifier: "pgkeep-shop",
      DBName: "shop",
      MultiAZ: true,
      StorageType: "gp3",
      AllocatedStorage: "100",
      MaxAllocatedStorage: 500,
    });
    const replicas = resourcesOf(templateOf("instance"), "AWS::RDS::DBInstance").filter(
      ({ Properties }) => Properties.SourceDBInstanceIdentifier !== undefined,
    );
    expect(replicas.map(({ Properties }) => Properties.DBInstanceIdentifier)).toEqual([
      "pgkeep-shop-replica-1",
      "pgkeep-shop-replica-2",
    ]);
    for (const replica of replicas) {
      expect(replica).toMatchObject({ DeletionPolicy: "Delete", Properties: { StorageType: "gp3" } });
      // Of the source; RDS refuses to be told again.
      for (const inherited of [
        "Engine",
        "MasterUsername",
        "KmsKeyId",
        "StorageEncrypted",
        "DBSubnetGroupName",
      ]) {
        expect(replica.Properties).not.toHaveProperty(inherited);
      }
    }
  });

  it("does not grow when both sizes are the same", () => {
    const { database } = foundationTemplates("database: {storageGigabytes: 50, maxStorageGigabytes: 50}");
    for (const { Properties } of resourcesOf(database, "AWS::RDS::DBInstance")) {
      expect(Properties).not.toHaveProperty("MaxAllocatedStorage");
    }
  });

  it("has a private zone for its readers, and none without readers", () => {
    expect(onlyResource(templateOf("instance"), "AWS::Route53::HostedZone").Properties.Name).toBe(
      "pgkeep-shop.internal.",
    );
    const alone = foundationTemplates("replicas: {count: 0}");
    alone.database.resourceCountIs("AWS::Route53::HostedZone", 0);
    expect(alone.stacks.database.platform.resources.readerDns).toBeUndefined();
    expect(alone.stacks.database.platform.resources.replicas).toEqual([]);
  });

  it("gives each server its own resource id for IAM logins", () => {
    expect(platformOf("instance").resources.resourceIds).toHaveLength(3);
  });
});

describe("a Multi-AZ cluster", () => {
  it("has the class and storage on the cluster, and no instances of ours", () => {
    expect(dataOf("multi-az-cluster").Properties).toMatchObject({
      Engine: "postgres",
      DBClusterIdentifier: "pgkeep-shop",
      DBClusterInstanceClass: "db.m6gd.large",
      AllocatedStorage: 100,
      StorageType: "gp3",
      AutoMinorVersionUpgrade: true,
      MonitoringInterval: 60,
    });
    templateOf("multi-az-cluster").resourceCountIs("AWS::RDS::DBInstance", 0);
  });

  it("is measured by the instances that RDS makes", () => {
    expect(platformOf("multi-az-cluster").metricDimensions).toMatchObject({
      primary: { DBInstanceIdentifier: "pgkeep-shop-instance-1" },
      replicas: [
        { dimensions: { DBInstanceIdentifier: "pgkeep-shop-instance-2" } },
        { dimensions: { DBInstanceIdentifier: "pgkeep-shop-instance-3" } },
      ],
      cluster: { DBClusterIdentifier: "pgkeep-shop" },
    });
  });
});

describe("Aurora", () => {
  it("has a writer and readers of one class, and one place that keeps the data", () => {
    const members = resourcesOf(templateOf("aurora"), "AWS::RDS::DBInstance");
    expect(members.map(({ Properties }) => Properties.DBInstanceIdentifier)).toEqual([
      "pgkeep-shop-instance-1",
      "pgkeep-shop-instance-2",
      "pgkeep-shop-instance-3",
    ]);
    for (const member of members) {
      expect(member).toMatchObject({
        DeletionPolicy: "Delete",
        Properties: { DBInstanceClass: "db.r7g.large" },
      });
    }
  });

  it("is measured by role, because any of them may be the writer", () => {
    expect(platformOf("aurora").metricDimensions).toMatchObject({
      primary: { DBClusterIdentifier: "pgkeep-shop", Role: "WRITER" },
      replicas: [{ name: "readers", dimensions: { DBClusterIdentifier: "pgkeep-shop", Role: "READER" } }],
    });
  });

  it("adds readers by itself only when it is told up to how many", () => {
    templateOf("aurora").resourceCountIs("AWS::ApplicationAutoScaling::ScalableTarget", 0);
    expect(
      onlyResource(templateOf("serverless"), "AWS::ApplicationAutoScaling::ScalableTarget").Properties,
    ).toMatchObject({ ResourceId: "cluster:pgkeep-shop", MinCapacity: 1, MaxCapacity: 4 });
  });

  it("may be serverless", () => {
    expect(dataOf("serverless").Properties.ServerlessV2ScalingConfiguration).toEqual({
      MinCapacity: 2,
      MaxCapacity: 16,
    });
    for (const { Properties } of resourcesOf(templateOf("serverless"), "AWS::RDS::DBInstance")) {
      expect(Properties.DBInstanceClass).toBe("db.serverless");
    }
    expect(dataOf("aurora").Properties).not.toHaveProperty("ServerlessV2ScalingConfiguration");
  });
});

describe("what AWS would refuse", () => {
  const make = (config: DatabaseConfig) => {
    const stack = new Stack(testApp(), "Theirs");
    const network = new IsolatedNetwork(stack, "Network", { config: defaultConfig().network });
    return new PostgresDatabase(stack, "Database", { config, network });
  };

  it.each([
    [
      "a replica of a cluster",
      { database: { topology: "multi-az-cluster", instanceClass: "m6gd.large" }, replicas: { count: 3 } },
      "replicas.count: a multi-az-cluster has exactly 2 readable standbys and takes no replica of its own, not 3",
    ],
    [
      "connections beyond the memory",
      { database: { instanceClass: "t4g.micro", maxConnections: 500 } },
      "database.maxConnections: 500 connections do not fit into the memory of t4g.micro, which has room for 112",
    ],
    [
      "a pool beyond what RDS gives the class",
      { database: { instanceClass: "t4g.micro" }, pooling: { poolSize: 110 } },
      "pooling.poolSize: 110 and 5 in reserve do not fit into the 112 connections of t4g.micro, of which 10 stay free",
    ],
    [
      "a database that RDS cannot name",
      { database: { name: "my-shop" } },
      'database.name: RDS cannot create a database named "my-shop"',
    ],
    [
      "a serverless instance",
      { database: { instanceClass: "serverless" } },
      "database.instanceClass: only Aurora is serverless",
    ],
    [
      "reader autoscaling on an instance",
      { replicas: { maxCount: 4 } },
      "replicas.maxCount: only Aurora adds readers by itself",
    ],
  ])("%s is an error at synthesis, with a remedy", (_, sections, message) => {
    const error = thrownBy(() => make(configFor("shop", sections))) as UsageError;
    expect(error).toBeInstanceOf(UsageError);
    expect(error.message).toBe(`test: ${message}`);
    expect(error.remedy).toMatch(/^\w+ .{5,}/);
  });

  it("retention of 0 is one too", () => {
    const config = configFor("shop");
    config.backups.pointInTimeRecoveryDays = 0;
    expect(String(thrownBy(() => make(config)))).toContain("0 switches off backups, point-in-time recovery");
  });
});

describe("in an app of somebody else", () => {
  it("the construct stands in their own stack and VPC", () => {
    const stack = new Stack(testApp(), "Theirs", { env: { account: "123456789012", region: "eu-west-1" } });
    const network = new IsolatedNetwork(stack, "Network", {
      config: {
        ...defaultConfig().network,
        existingVpcId: "vpc-00000001",
        existingSubnetIds: ["subnet-00000001", "subnet-00000002"],
      },
    });
    const database = new PostgresDatabase(stack, "Shop", { config: configFor("shop"), network });
    expect(database.resources).toMatchObject({ account: "123456789012", region: "eu-west-1" });
    Template.fromStack(stack).resourceCountIs("AWS::RDS::DBInstance", 3);
    expect(Vpc.isConstruct(database.vpc)).toBe(true);
  });
});

it("synthesizes to the same templates each time", () => {
  const synthesize = () => {
    const { app } = foundationStacks(texts.serverless);
    return app.synth().stacks.map(({ template }) => JSON.stringify(template));
  };
  expect(synthesize()).toEqual(synthesize());
});
