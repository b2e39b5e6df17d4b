import { Stack, Token } from "aws-cdk-lib";
import type { Construct } from "constructs";
import { environmentNames, type PlatformResources, type ServerResource } from "../aws/resources.ts";
import { UsageError } from "../errors.ts";
import type { PortName } from "../ports/index.ts";
import type { DatabasePlatform } from "./platform.ts";

/** The most that the names and values of a function's environment may have together, bytes (AWS Lambda quotas). */
const maximumBytes = 4_096;

/** What AWS adds to an identifier for a host: `.<12 characters>.<region>.rds.amazonaws.com`. */
const hostSuffixBytes = 46;

/** `db-` or `cluster-` and 26 characters. */
const resourceIdBytes = 34;

/** The longest of the other values that are known only once they are deployed: ARNs of keys and secrets. */
const longestTokenBytes = 110;

/**
 * The environment of a function: what it works with, its configuration, and `more`.
 * @throws UsageError (`configuration`) when it is larger than Lambda takes
 */
export function functionEnvironment(
  scope: Construct,
  platform: DatabasePlatform,
  {
    functionName,
    needs,
    config,
    more,
  }: { functionName: string; needs: readonly PortName[]; config: string; more: Record<string, string> },
): Record<string, string> {
  const told = toldResources(platform.resources, needs);
  requireRoom(platform.config.key, functionName, {
    ...more,
    [environmentNames.resources]: JSON.stringify(withHosts(told, platform.resources)),
    [environmentNames.config]: config,
  });
  return {
    [environmentNames.resources]: Stack.of(scope).toJsonString(told),
    [environmentNames.config]: config,
    ...more,
  };
}

/**
 * What a function is told of the platform: of the replicas, which may be many, only what connecting takes, and only
 * where it connects to them; then nothing of what control-plane steps work with.
 */
export function toldResources(
  { replicas, ...rest }: PlatformResources,
  needs: readonly PortName[],
): Partial<PlatformResources> {
  if (!needs.includes("replicas")) return { ...rest, replicas: [] };
  const { partition, account, region, key, databaseName, topology, primary, resourceIds } = rest;
  return {
    partition,
    account,
    region,
    key,
    databaseName,
    topology,
    primary,
    resourceIds,
    replicas: replicas.map(({ name, host, port }) => ({ name, host, port }) as ServerResource),
  };
}

/** With hosts and ids as long as they will be, for measuring. */
function withHosts(told: Partial<PlatformResources>, { primary, replicas }: PlatformResources): unknown {
  const lengths = new Map([primary, ...replicas].map(({ host, identifier }) => [host, identifier]));
  const known = (server: ServerResource): ServerResource => ({
    ...server,
    host: Token.isUnresolved(server.host)
      ? "h".repeat((lengths.get(server.host) ?? "").length + hostSuffixBytes)
      : server.host,
  });
  return {
    ...told,
    ...(told.primary === undefined ? {} : { primary: known(told.primary) }),
    replicas: (told.replicas ?? []).map(known),
    resourceIds: (told.resourceIds ?? []).map((id) =>
      Token.isUnresolved(id) ? "i".repeat(resourceIdBytes) : id,
    ),
  };
}

function requireRoom(key: string, functionName: string, variables: Record<string, string>): void {
  const sizes = Object.entries(variables).map(([name, value]): [string, number] => [
    name,
    name.length +
      Buffer.byteLength(value.replaceAll(/\$\{Token\[[^\]]*\]\}/g, "t".repeat(longestTokenBytes))),
  ]);
  const bytes = sizes.reduce((sum, [, size]) => sum + size, 0);
  if (bytes <= maximumBytes) return;
  const [largest] = sizes.sort(([, a], [, b]) => b - a)[0] ?? [""];
  const [path, remedy] =
    largest === environmentNames.config
      ? ["databases", "configure less that differs from the defaults for this database"]
      : [
          "replicas.count",
          "have fewer replicas, or a shorter key in `databases`, which is part of each name",
        ];
  throw new UsageError(
    `${key}: ${path}: the function ${functionName} would be told ${bytes} bytes (${sizes
      .map(([name, size]) => `${name} ${size}`)
      .join(", ")}), and a Lambda takes ${maximumBytes}`,
    { remedy },
    "configuration",
  );
}
