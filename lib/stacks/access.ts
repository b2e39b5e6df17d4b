import { Stack, type StackProps } from "aws-cdk-lib";
import type { Construct } from "constructs";
import { DatabaseAccess, type DatabaseAccessProps } from "../constructs/access.ts";
import type { AccessiblePlatform } from "../constructs/platform.ts";
import { PoolingProxy } from "../constructs/proxy.ts";

export interface AccessStackProps extends StackProps, DatabaseAccessProps {
  platform: AccessiblePlatform;
}

/** The ways in to one database: logins and their secrets, roles, and the proxy. */
export class AccessStack extends Stack {
  readonly access: DatabaseAccess;
  /** Absent when pooling is switched off. */
  readonly proxy: PoolingProxy | undefined;

  constructor(scope: Construct, id: string, props: AccessStackProps) {
    super(scope, id, props);
    const { platform, code } = props;
    this.access = new DatabaseAccess(this, "Access", { platform, code });
    this.proxy = platform.config.pooling.enabled
      ? new PoolingProxy(this, "Proxy", {
          platform,
          // Migrations change session state and hold locks: they connect directly.
          loginSecrets: this.access.loginSecrets("app", "reporting"),
        })
      : undefined;
  }
}
