import { CfnOutput, Stack, type StackProps } from "aws-cdk-lib";
import type { Construct } from "constructs";
import { ValkeyCache, type ValkeyCacheProps } from "../constructs/cache.ts";

export interface CacheStackProps extends StackProps, ValkeyCacheProps {}

/** The cache beside one database. */
export class CacheStack extends Stack {
  readonly cache: ValkeyCache;

  constructor(scope: Construct, id: string, { platform, ...props }: CacheStackProps) {
    super(scope, id, props);
    this.cache = new ValkeyCache(this, "Cache", { platform });
    const { key } = platform.config;
    new CfnOutput(this, "Endpoint", {
      value: `${this.cache.endpoint}:${this.cache.port}`,
      description: `Cache of ${key}: for writing`,
    });
    new CfnOutput(this, "ReaderEndpoint", {
      value: `${this.cache.readerEndpoint}:${this.cache.port}`,
      description: `Cache of ${key}: for reading`,
    });
  }
}
