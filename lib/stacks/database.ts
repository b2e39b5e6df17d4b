import { Stack, type StackProps } from "aws-cdk-lib";
import type { Construct } from "constructs";
import type { DatabaseConfig } from "../config/schema.ts";
import { PostgresDatabase } from "../constructs/database.ts";
import type { Network } from "../constructs/network.ts";

export interface DatabaseStackProps extends StackProps {
  config: DatabaseConfig;
  network: Network;
}

/** What holds the data of one database. Nothing in here changes with jobs, alarms or dashboards. */
export class DatabaseStack extends Stack {
  readonly platform: PostgresDatabase;

  constructor(scope: Construct, id: string, props: DatabaseStackProps) {
    super(scope, id, { terminationProtection: props.config.database.deletionProtection, ...props });
    this.platform = new PostgresDatabase(this, "Database", { config: props.config, network: props.network });
  }
}
