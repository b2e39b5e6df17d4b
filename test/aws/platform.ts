import type { PlatformResources } from "../../lib/aws/resources.ts";

/** A deployed platform named `shop`, as a Lambda is told about it. */
export function platform(overrides: Partial<PlatformResources> = {}): PlatformResources {
  return {
    partition: "aws",
    account: "123456789012",
    region: "eu-west-1",
    key: "shop",
    databaseName: "shop",
    topology: "instance",
    primary: { name: "primary", host: "primary.example", port: 5432, identifier: "pgkeep-shop-primary" },
    replicas: [
      { name: "replica-1", host: "replica-1.example", port: 5432, identifier: "pgkeep-shop-replica-1" },
    ],
    resourceIds: ["db-AAAA", "db-BBBB"],
    restore: {
      subnetGroupName: "pgkeep-shop",
      securityGroupIds: ["sg-0123456789abcdef0"],
      parameterGroupName: "pgkeep-shop",
      instanceClass: "m7g.large",
    },
    kmsKeyArn: "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555",
    routingParameterName: "/pgkeep/shop/routing",
    pageTopicArn: "arn:aws:sns:eu-west-1:123456789012:pgkeep-shop-page",
    ticketTopicArn: "arn:aws:sns:eu-west-1:123456789012:pgkeep-shop-ticket",
    copyToRegions: [],
    ...overrides,
  };
}
