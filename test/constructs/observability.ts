import { App } from "aws-cdk-lib";
import { Template } from "aws-cdk-lib/assertions";
import type { Config, DatabaseConfig } from "../../lib/config/schema.ts";
import { measuredCache } from "../../lib/constructs/cache.ts";
import type { MetricDimensions } from "../../lib/constructs/platform.ts";
import { ObservabilityStack } from "../../lib/stacks/observability.ts";
import { serversOf, wholeConfig } from "../alarms/contexts.ts";

type Properties = Record<string, unknown>;

export interface Resource {
  id: string;
  type: string;
  properties: Properties;
}

const dimensionsOf = (config: DatabaseConfig): MetricDimensions => {
  const primary = {
    instance: { DBInstanceIdentifier: "pgkeep-shop" },
    "multi-az-cluster": { DBInstanceIdentifier: "pgkeep-shop-instance-1" },
    aurora: { DBClusterIdentifier: "pgkeep-shop", Role: "WRITER" },
  };
  return {
    primary: primary[config.database.topology],
    replicas: serversOf(config).replicas.map((name) => ({
      name,
      dimensions: { DBInstanceIdentifier: `pgkeep-shop-${name}` },
    })),
    ...(config.pooling.enabled ? { proxy: { ProxyName: "pgkeep-shop" } } : {}),
    ...(config.cache.enabled ? { cache: measuredCache({ ...config, key: "shop" }) } : {}),
  };
};

/** The observability stack of one database, synthesized without the others. */
export function observabilityOf(
  config: DatabaseConfig,
  shared: Partial<Config> = {},
): { template: Template; resources: Resource[] } {
  const server = (name: string) => ({
    name,
    host: `${name}.example`,
    port: 5432,
    identifier: `pgkeep-shop-${name}`,
  });
  const named = { ...config, key: "shop" };
  const stack = new ObservabilityStack(new App(), "pgkeep-shop-observability", {
    platform: {
      config: named,
      metricDimensions: dimensionsOf(config),
      resources: {
        partition: "aws",
        account: "111122223333",
        region: "eu-west-1",
        key: "shop",
        databaseName: "shop",
        topology: config.database.topology,
        primary: server("primary"),
        replicas: serversOf(config).readers.map(server),
        resourceIds: [],
        restore: { subnetGroupName: "", securityGroupIds: [], parameterGroupName: "", instanceClass: "" },
        kmsKeyArn: "",
        routingParameterName: "/pgkeep/shop/routing",
        pageTopicArn: "",
        ticketTopicArn: "",
        copyToRegions: [],
      },
    },
    config: { ...wholeConfig(named), ...shared },
  });
  const template = Template.fromStack(stack);
  const resources = Object.entries(
    template.toJSON().Resources as Record<string, { Type: string; Properties: Properties }>,
  );
  return {
    template,
    resources: resources.map(([id, { Type, Properties }]) => ({ id, type: Type, properties: Properties })),
  };
}

export const ofType = (resources: readonly Resource[], type: string): Resource[] =>
  resources.filter((resource) => resource.type === type);
