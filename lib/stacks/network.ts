import { CfnWaitConditionHandle, Fn, Stack, type StackProps } from "aws-cdk-lib";
import type { Construct } from "constructs";
import type { Config, DatabaseConfig } from "../config/schema.ts";
import { dumpBucketArn } from "../constructs/dump-bucket.ts";
import { filesBucketArn } from "../constructs/files-bucket.ts";
import { IsolatedNetwork, type Network, type TaskNeeds } from "../constructs/network.ts";

export interface NetworkStackProps extends StackProps {
  config: Config;
}

/** The network that all databases of one file share. */
export class NetworkStack extends Stack {
  readonly network: Network;
  readonly #zones: number;

  constructor(scope: Construct, id: string, props: NetworkStackProps) {
    super(scope, id, props);
    this.#zones = props.config.network.availabilityZones;
    const { network } = props.config;
    const buckets = props.config.databases
      .filter(({ files }) => files.enabled)
      .map((database) => filesBucketArn(this, database));
    const tasks = taskNeeds(this, props.config.databases);
    this.network = new IsolatedNetwork(this, "Network", { config: network, buckets, tasks });
    // A template may not be empty, and here everything exists already.
    if (network.existingEndpointSecurityGroupId !== undefined) new CfnWaitConditionHandle(this, "Nothing");
  }

  /** By number, whatever the region calls them: their names would take a look-up, and that takes credentials. */
  override get availabilityZones(): string[] {
    return Array.from({ length: this.#zones }, (_, index) => Fn.select(index, Fn.getAzs()));
  }
}

function taskNeeds(scope: Construct, databases: readonly DatabaseConfig[]): TaskNeeds | undefined {
  const dumping = databases.filter(({ logicalBackups }) => logicalBackups.task.enabled);
  if (dumping.length === 0) return undefined;
  return {
    buckets: dumping.map((database) => dumpBucketArn(scope, database)),
    keys: dumping.flatMap(({ logicalBackups: { kmsKey } }) => (kmsKey === undefined ? [] : [kmsKey])),
  };
}
