import { App, Aws, Stack } from "aws-cdk-lib";
import * as ec2 from "aws-cdk-lib/aws-ec2";
import * as kms from "aws-cdk-lib/aws-kms";
import type { Grants } from "../../lib/aws/grants.ts";
import type { PlatformResources } from "../../lib/aws/resources.ts";
import { type DatabaseConfig, databaseConfigSchema } from "../../lib/config/schema.ts";
import type { DatabasePlatform } from "../../lib/constructs/platform.ts";

/** A platform whose database is only a name, for tests of what is built on one. */
export function makePlatform(config: Partial<DatabaseConfig> = {}): { app: App; platform: DatabasePlatform } {
  const app = new App({ analyticsReporting: false });
  const stack = new Stack(app, "database");
  const vpc: ec2.IVpc = new ec2.Vpc(stack, "Vpc", {
    natGateways: 0,
    subnetConfiguration: [{ name: "isolated", subnetType: ec2.SubnetType.PRIVATE_ISOLATED }],
  }) as ec2.IVpc;
  const full: DatabaseConfig = { key: "shop", ...databaseConfigSchema.parse({}), ...config };
  const server = (name: string) => ({
    name,
    host: `${name}.example.com`,
    port: 5432,
    identifier: `pgkeep-${full.key}-${name}`,
  });
  const resources: PlatformResources = {
    partition: Aws.PARTITION,
    account: Aws.ACCOUNT_ID,
    region: Aws.REGION,
    key: full.key,
    databaseName: full.database.name,
    topology: "instance",
    primary: server("primary"),
    replicas: [server("replica-1"), server("replica-2")],
    resourceIds: ["db-ABCDEFGH"],
    restore: {
      subnetGroupName: "pgkeep-shop",
      securityGroupIds: ["sg-1"],
      parameterGroupName: "pgkeep-shop",
      instanceClass: "db.m7g.large",
    },
    kmsKeyArn: "arn:aws:kms:eu-west-1:123456789012:key/1",
    routingParameterName: `/pgkeep/${full.key}/routing`,
    pageTopicArn: "arn:aws:sns:eu-west-1:123456789012:pgkeep-shop-page",
    ticketTopicArn: "arn:aws:sns:eu-west-1:123456789012:pgkeep-shop-ticket",
    copyToRegions: [],
  };
  const platform: DatabasePlatform = {
    config: full,
    resources,
    vpc,
    subnets: { subnetType: ec2.SubnetType.PRIVATE_ISOLATED },
    clientSecurityGroup: new ec2.SecurityGroup(stack, "Client", { vpc, allowAllOutbound: false }),
    encryptionKey: new kms.Key(stack, "Key"),
    metricDimensions: { primary: { DBInstanceIdentifier: "pgkeep-shop-primary" }, replicas: [] },
  };
  return { app, platform };
}

/** Grants that are recognizable in a policy: one action for each port, on a resource that names the login. */
export const markedGrants: Grants = {
  primary: (_, role) => marked("primary", `dbuser/${role}`),
  replicas: (_, role) => marked("primary", `dbuser/${role}`),
  restored: (_, role) => marked("restored", `restored/${role}`),
  backups: (_, __, calls = ["everything"]) => marked("backups", `backups/${calls.join(",")}`),
  routing: () => marked("routing", "routing"),
};

function marked(name: string, resource: string) {
  return {
    statements: [
      {
        sid: name[0]?.toUpperCase() + name.slice(1),
        actions: [`test:${name}`],
        resources: [`arn:aws:test:::${resource}`],
      },
    ],
  };
}
