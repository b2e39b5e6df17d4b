import { Stack, type StackProps } from "aws-cdk-lib";
import type { Construct } from "constructs";
import type { DatabaseConfig } from "../config/schema.ts";
import { identifiersOf } from "../constructs/identifiers.ts";
import { makeKey } from "../constructs/server-options.ts";

export interface ReplicatedBackupsStackProps extends StackProps {
  config: DatabaseConfig;
}

/** The key that encrypts AWS's own backups in the region that they are replicated to. */
export class ReplicatedBackupsStack extends Stack {
  constructor(scope: Construct, id: string, props: ReplicatedBackupsStackProps) {
    const { config, ...stackProps } = props;
    super(scope, id, stackProps);
    const alias = identifiersOf(config).replicatedBackups;
    makeKey(this, alias, `pgkeep: backups of ${config.key} that AWS replicates to this region`);
  }
}
