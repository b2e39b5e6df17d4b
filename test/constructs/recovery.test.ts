import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Stack } from "aws-cdk-lib";
import { Template } from "aws-cdk-lib/assertions";
import { Role, ServicePrincipal } from "aws-cdk-lib/aws-iam";
import { describe, expect, it } from "vitest";
import { parseConfig } from "../../lib/config/load.ts";
import { UsageError } from "../../lib/errors.ts";
import { packageRoot } from "../../lib/package-root.ts";
import { buildApp } from "../../lib/stacks/app.ts";
import { foundationStacks, foundationTemplates, resourcesOf, thrownBy } from "../helpers/stacks.ts";
import { useSynthesizer } from "../helpers/synth.ts";

const synthesizer = useSynthesizer();
const key = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";

/** The instance or cluster that holds the data. */
function dataOf(text: string) {
  const { database } = foundationTemplates(text);
  const [found] = [
    ...resourcesOf(database, "AWS::RDS::DBCluster"),
    ...resourcesOf(database, "AWS::RDS::DBInstance").filter(
      ({ Properties }) => Properties.SourceDBInstanceIdentifier === undefined,
    ),
  ];
  if (found === undefined) throw new Error("nothing holds the data");
  return found;
}

describe("a database from a snapshot", () => {
  const text = `database: {name: shop, restoreFrom: {snapshotId: pgkeep-shop-20260102, kmsKeyArn: "${key}"}}`;

  it("names the snapshot, and nothing that CloudFormation takes from it", () => {
    const { Properties, ...policies } = dataOf(text);
    expect(Properties.DBSnapshotIdentifier).toBe("pgkeep-shop-20260102");
    for (const inherited of ["DBName", "KmsKeyId", "MasterUsername", "StorageEncrypted", "RestoreTime"]) {
      expect(Properties).not.toHaveProperty(inherited);
    }
    expect(policies).toMatchObject({ DeletionPolicy: "Snapshot", UpdateReplacePolicy: "Snapshot" });
  });

  it("keeps a fixed name, under which CloudFormation can replace nothing", () => {
    expect(dataOf(text).Properties.DBInstanceIdentifier).toBe("pgkeep-shop");
  });

  it("has its master's password set to that of its own secret, and everything under the key of its source", () => {
    const { database, stacks } = foundationTemplates(text);
    expect(JSON.stringify(dataOf(text).Properties.MasterUserPassword)).toContain("{{resolve:secretsmanager:");
    database.resourceCountIs("AWS::KMS::Key", 0);
    expect(stacks.database.platform.resources.kmsKeyArn).toBe(key);
    for (const { Properties } of resourcesOf(database, "AWS::Logs::LogGroup")) {
      expect(Properties.KmsKeyId).toBe(key);
    }
  });

  it("differs from a new one only where it comes from", () => {
    const fresh = dataOf("database: {name: shop}").Properties;
    const changed = Object.keys({ ...fresh, ...dataOf(text).Properties }).filter(
      (name) => JSON.stringify(fresh[name]) !== JSON.stringify(dataOf(text).Properties[name]),
    );
    expect(changed.toSorted()).toEqual([
      "DBName",
      "DBSnapshotIdentifier",
      "KmsKeyId",
      "MasterUsername",
      "PerformanceInsightsKMSKeyId",
      "StorageEncrypted",
    ]);
  });
});

describe("a database from a moment", () => {
  it("is named by resource id: by identifier CloudFormation would delete it as a replica, without a snapshot", () => {
    const { Properties } = dataOf(
      `database: {restoreFrom: {resourceId: db-ABCDEFGHIJKLMNOP, time: "2026-01-02T03:04:05Z", kmsKeyArn: "${key}"}}`,
    );
    expect(Properties).toMatchObject({
      SourceDbiResourceId: "db-ABCDEFGHIJKLMNOP",
      RestoreTime: "2026-01-02T03:04:05Z",
    });
    expect(Properties).not.toHaveProperty("SourceDBInstanceIdentifier");
    expect(Properties).not.toHaveProperty("UseLatestRestorableTime");
  });

  it("may be the latest that can be had", () => {
    const { Properties } = dataOf(
      `database: {restoreFrom: {resourceId: db-ABCDEFGHIJKLMNOP, latest: true, kmsKeyArn: "${key}"}}`,
    );
    expect(Properties.UseLatestRestorableTime).toBe(true);
    expect(Properties).not.toHaveProperty("RestoreTime");
  });

  it.each(["aurora", "multi-az-cluster"])(
    "may be one of a cluster, under a key of its own: %s",
    (topology) => {
      const { Properties } = dataOf(
        `database: {topology: ${topology}, restoreFrom: {resourceId: cluster-ABCDEFGHIJKLMNOP, time: "2026-01-02T03:04:05Z"}}`,
      );
      expect(Properties).toMatchObject({
        SourceDbClusterResourceId: "cluster-ABCDEFGHIJKLMNOP",
        RestoreToTime: "2026-01-02T03:04:05Z",
      });
      expect(JSON.stringify(Properties.KmsKeyId)).toContain("DatabaseKey");
      for (const inherited of ["DatabaseName", "MasterUsername", "StorageEncrypted"]) {
        expect(Properties).not.toHaveProperty(inherited);
      }
    },
  );
});

describe("a replica in another region", () => {
  const text = (more = "", instanceClass = "m7g.large") => `
    account: {region: eu-west-1}
    database: {name: shop}
    replicas: {disasterRecovery: {region: us-east-1, instanceClass: ${instanceClass} ${more}}}`;
  const stacksOf = (given: string) => synthesizer.text(given);
  const resource = (given: string, type: string) =>
    stacksOf(given).resources.find(({ stack, Type }) => stack === "pgkeep-shop-recovery" && Type === type);

  it("stands in a stack of that region, and what is at home in stacks of account.region", () => {
    const { assembly } = stacksOf(text());
    const regions = Object.fromEntries(
      assembly.stacks.map(({ stackName, environment }) => [stackName, environment.region]),
    );
    expect(regions).toMatchObject({
      "pgkeep-shop-database": "eu-west-1",
      "pgkeep-shop-recovery": "us-east-1",
      "pgkeep-shop-recovery-observability": "us-east-1",
    });
    const recovery = assembly.getStackByName("pgkeep-shop-recovery");
    expect(recovery.dependencies.map(({ id }) => id)).toContain("pgkeep-shop-database");
    expect(recovery.terminationProtection).toBe(true);
  });

  it("follows the database by its ARN, with a key, network and parameters of its own there", () => {
    const replica = resource(text(), "AWS::RDS::DBInstance");
    const properties = replica?.Properties ?? {};
    expect(JSON.stringify(properties.SourceDBInstanceIdentifier)).toMatch(
      /arn:aws:rds:eu-west-1:.*AWS::AccountId.*:db:pgkeep-shop"/,
    );
    expect(properties).toMatchObject({
      DBInstanceIdentifier: "pgkeep-shop-recovery",
      SourceRegion: "eu-west-1",
      PubliclyAccessible: false,
      DeletionProtection: true,
      EnableIAMDatabaseAuthentication: true,
      CopyTagsToSnapshot: true,
    });
    for (const own of ["KmsKeyId", "DBParameterGroupName", "DBSubnetGroupName", "VPCSecurityGroups"]) {
      expect(JSON.stringify(properties[own]), own).toMatch(/"(Ref|Fn::GetAtt)"/);
    }
    for (const inherited of ["Engine", "MasterUsername", "BackupRetentionPeriod", "StorageEncrypted"]) {
      expect(properties).not.toHaveProperty(inherited);
    }
    expect(replica).toMatchObject({ DeletionPolicy: "Snapshot", UpdateReplacePolicy: "Snapshot" });
    const keys = stacksOf(text()).resources.filter(
      ({ stack, Type, DeletionPolicy }) =>
        stack === "pgkeep-shop-recovery" && Type === "AWS::KMS::Key" && DeletionPolicy === "Retain",
    );
    expect(keys).toMatchObject([{ Properties: { EnableKeyRotation: true } }]);
  });

  it("takes as many connections as its primary, or PostgreSQL would stop it", () => {
    const parameters = resource(text("", "r7g.large"), "AWS::RDS::DBParameterGroup")?.Properties?.Parameters;
    // What RDS gives the primary's m7g.large.
    expect(parameters).toMatchObject({ max_connections: "901", "rds.force_ssl": "1" });
    const error = thrownBy(() => buildApp(parseConfig(text("", "t4g.small"), "pgkeep.yaml"))) as UsageError;
    expect(error).toBeInstanceOf(UsageError);
    expect(error.message).toContain("replicas.disasterRecovery.instanceClass: t4g.small has memory for 225");
    expect(error.remedy).toContain("larger class");
  });

  it("tells of its lag where CloudWatch has it", () => {
    const alarms = stacksOf(text()).resources.filter(
      ({ stack, Type }) =>
        stack === "pgkeep-shop-recovery-observability" && Type === "AWS::CloudWatch::Alarm",
    );
    expect(alarms.map(({ Properties }) => Properties?.AlarmName)).toEqual([
      "pgkeep-shop-recovery-stopped",
      "pgkeep-shop-recovery-behind",
    ]);
    for (const { Properties } of alarms) {
      expect(Properties).toMatchObject({
        MetricName: "ReplicaLag",
        Statistic: "Maximum",
        Dimensions: [{ Name: "DBInstanceIdentifier", Value: "pgkeep-shop-recovery" }],
      });
    }
  });

  it("is promoted by one word, which takes away its source and nothing that would replace it", () => {
    const before = resource(text(), "AWS::RDS::DBInstance")?.Properties ?? {};
    const after = resource(text(", promoted: true"), "AWS::RDS::DBInstance")?.Properties ?? {};
    const changed = Object.keys({ ...before, ...after }).filter(
      (name) => JSON.stringify(before[name]) !== JSON.stringify(after[name]),
    );
    expect(changed.toSorted()).toEqual([
      "BackupRetentionPeriod",
      "DeleteAutomatedBackups",
      "MultiAZ",
      "PreferredBackupWindow",
      "SourceDBInstanceIdentifier",
    ]);
    // It can be deployed while the other region is lost.
    const promoted = stacksOf(text(", promoted: true")).assembly.getStackByName("pgkeep-shop-recovery");
    expect(promoted.dependencies.filter(({ id }) => !id.endsWith(".assets"))).toHaveLength(0);
  });
});

describe("backups in another region", () => {
  const text = (more = "") =>
    `{account: {region: eu-west-1}, database: {name: shop}, backups: {replicateToRegion: eu-central-1 ${more}}}`;
  const primary = (given: string) =>
    synthesizer
      .text(given)
      .resources.find(({ Properties }) => Properties?.DBInstanceIdentifier === "pgkeep-shop")?.Properties;

  it("are as old as those at home, under a key that stands there before", () => {
    const given = synthesizer.text(text());
    expect(primary(text())).toMatchObject({
      AutomaticBackupReplicationRegion: "eu-central-1",
      AutomaticBackupReplicationRetentionPeriod: 14,
    });
    const alias = given.resources.find(
      ({ stack, Type }) => stack === "pgkeep-shop-replicated-backups" && Type === "AWS::KMS::Alias",
    )?.Properties?.AliasName;
    expect(alias).toBe("alias/pgkeep-shop-replicated-backups");
    expect(JSON.stringify(primary(text())?.AutomaticBackupReplicationKmsKeyId)).toMatch(
      /arn:aws:kms:eu-central-1:.*:alias\/pgkeep-shop-replicated-backups/,
    );
    const data = given.assembly.getStackByName("pgkeep-shop-database");
    expect(data.dependencies.map(({ id }) => id)).toContain("pgkeep-shop-replicated-backups");
  });

  it("may have a key and an age that are named", () => {
    const arn = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd";
    const given = text(`, replicatedDays: 3, replicationKeyArn: "${arn}"`);
    expect(primary(given)).toMatchObject({
      AutomaticBackupReplicationKmsKeyId: arn,
      AutomaticBackupReplicationRetentionPeriod: 3,
    });
    expect(Object.keys(synthesizer.text(given).templates)).not.toContain("pgkeep-shop-replicated-backups");
  });
});

describe("Database Insights", () => {
  const watched = (topology: string, insights: string) => {
    const { database } = foundationTemplates(`database: {topology: ${topology}, insights: ${insights}}`);
    return [
      ...resourcesOf(database, "AWS::RDS::DBCluster"),
      ...resourcesOf(database, "AWS::RDS::DBInstance"),
    ].map(({ Properties }) => ({
      enabled: Properties.EnablePerformanceInsights ?? Properties.PerformanceInsightsEnabled,
      days: Properties.PerformanceInsightsRetentionPeriod,
      mode: Properties.DatabaseInsightsMode,
    }));
  };

  it.each([
    ["standard", 7, "standard"],
    ["advanced", 465, "advanced"],
  ])("keeps in mode %s %i days on every server", (insights, days, mode) => {
    const set = { enabled: true, days, mode };
    expect(watched("instance", insights)).toEqual([set, set, set]);
    expect(watched("multi-az-cluster", insights)).toEqual([set]);
    // Aurora's instances take the mode from their cluster.
    const member = { ...set, mode: undefined };
    expect(watched("aurora", insights)).toEqual([set, member, member, member]);
  });

  it.each(["instance", "multi-az-cluster", "aurora"])("keeps nothing when it is off: %s", (topology) => {
    for (const { enabled, days, mode } of watched(topology, "off")) {
      expect([enabled, days]).toEqual([false, undefined]);
      expect(mode).not.toBe("advanced");
    }
  });
});

describe("grantConnect", () => {
  const policyOf = (stack: Stack) =>
    resourcesOf(Template.fromStack(stack), "AWS::IAM::Policy").flatMap(
      ({ Properties }) =>
        (Properties.PolicyDocument as { Statement: { Action: unknown; Resource: unknown }[] }).Statement,
    );
  const granted = (
    text: string,
    grant: (stacks: ReturnType<typeof foundationStacks>, role: Role) => unknown,
  ) => {
    const stacks = foundationStacks(text);
    const theirs = new Stack(stacks.app, "Theirs");
    const role = new Role(theirs, "Role", { assumedBy: new ServicePrincipal("ecs-tasks.amazonaws.com") });
    grant(stacks, role);
    return policyOf(theirs);
  };

  it("of the proxy names one role on the proxy's resource id, and nothing else", () => {
    const statements = granted("database: {name: shop}", ({ access }, role) =>
      access.proxy?.grantConnect(role, "reporting"),
    );
    expect(statements).toHaveLength(1);
    expect(statements[0]?.Action).toBe("rds-db:connect");
    const resource = JSON.stringify(statements[0]?.Resource);
    expect(resource).toContain('"Fn::Select":[6,{"Fn::Split":[":"');
    expect(resource).toContain("DBProxyArn");
    expect(resource).toMatch(/:dbuser:.*\/shop_reporting"/);
    expect(resource).not.toContain("*");
  });

  it("of the database names one role on each server's resource id", () => {
    const statements = granted("{database: {name: shop}, roles: {logins: iam}}", ({ database }, role) =>
      database.platform.grantConnect(role, "migrations"),
    );
    expect(statements).toHaveLength(1);
    const resources = statements[0]?.Resource as unknown[];
    expect(resources).toHaveLength(3);
    for (const resource of resources)
      expect(JSON.stringify(resource)).toMatch(/DbiResourceId.*\/shop_migrations"/);
  });

  it("refuses what could not log in, with the alternative", () => {
    const direct = thrownBy(() =>
      granted("database: {name: shop}", ({ database }, role) => database.platform.grantConnect(role, "app")),
    ) as UsageError;
    expect(direct).toBeInstanceOf(UsageError);
    expect(direct.remedy).toContain("set roles.logins to iam, or connect through the proxy");
    const through = thrownBy(() =>
      granted("database: {name: shop}", ({ access }, role) =>
        access.proxy?.grantConnect(role, "migrations" as "app"),
      ),
    ) as UsageError;
    expect(through).toBeInstanceOf(UsageError);
    expect(through.remedy).toContain("connect directly");
  });
});

describe("the stack policy", () => {
  const { Statement } = JSON.parse(
    readFileSync(join(packageRoot, "docs", "database-stack-policy.json"), "utf8"),
  ) as { Statement: { Effect: string; Action: unknown; Resource: unknown }[] };
  const denied = Statement.find(({ Effect }) => Effect === "Deny")?.Resource as string[];
  const protects = (logicalId: string) =>
    denied.some((pattern) =>
      logicalId.startsWith(pattern.replace("LogicalResourceId/", "").replace("*", "")),
    );

  it.each(["instance", "multi-az-cluster", "aurora"])(
    "keeps what holds the data, and its key: %s",
    (topology) => {
      const { database } = foundationTemplates(`database: {topology: ${topology}}`);
      const kept = Object.keys(database.toJSON().Resources as object).filter(protects);
      const types = (database.toJSON() as { Resources: Record<string, { Type: string }> }).Resources;
      expect(kept.map((id) => types[id]?.Type).toSorted()).toEqual([
        "AWS::KMS::Alias",
        "AWS::KMS::Key",
        topology === "instance" ? "AWS::RDS::DBInstance" : "AWS::RDS::DBCluster",
      ]);
    },
  );
});
