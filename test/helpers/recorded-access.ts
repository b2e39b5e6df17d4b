import type { SecretsManagerRotationEvent } from "aws-lambda";
import { bootstrapHandler } from "../../lambdas/bootstrap.ts";
import { rotateHandler } from "../../lambdas/rotate.ts";
import { environmentNames, type PlatformResources } from "../../lib/aws/resources.ts";
import { configDefaults } from "../../lib/config/beyond-defaults.ts";
import type { RecordedCall } from "./aws-calls.ts";
import { cloudCallsOf } from "./cloud-calls.ts";
import type { CloudCall, DeployedFunction } from "./permissions.ts";
import { context, distinct, within } from "./recorded-runs.ts";
import { startSecretsManager } from "./secrets-manager.ts";

const keys = { AWS_ACCESS_KEY_ID: "testing", AWS_SECRET_ACCESS_KEY: "testing" };

/** The function has this long: enough for its calls to AWS, which come before the first login. */
const bootstrapMilliseconds = 6_000;

/**
 * Runs the function that sets roles up, or the one that rotates all these secrets, with its deployed environment
 * and a fake Secrets Manager, and gives what AWS would ask IAM. Nobody answers at the database's port: neither
 * function calls AWS for what it does there.
 */
export async function recordedAccessCalls(
  { name, environment }: DeployedFunction,
  masterSecrets: readonly string[],
): Promise<CloudCall[]> {
  const deployed = JSON.parse(environment[environmentNames.resources] ?? "{}") as PlatformResources;
  const resources = { ...deployed, primary: { ...deployed.primary, host: "127.0.0.1", port: 1 } };
  const logins = JSON.parse(environment[environmentNames.loginSecrets] ?? "{}") as Record<string, string>;
  const secrets = await startSecretsManager();
  const all = [...masterSecrets, ...Object.values(logins)];
  for (const arn of all) secrets.set(arn, { username: "somebody", password: "first" });
  const variables = {
    ...environment,
    ...keys,
    ...secrets.environment,
    [environmentNames.resources]: JSON.stringify(resources),
    POWERTOOLS_LOG_LEVEL: "SILENT",
  };
  try {
    await within(variables, () => (name.endsWith("-rotate") ? rotate(secrets.begin, all) : bootstrap()));
  } finally {
    await secrets.stop();
  }
  const calls = secrets.requests.map(
    (request): RecordedCall => ({
      action: `secretsmanager:${request.name}`,
      region: deployed.region,
      input: request.input,
    }),
  );
  return distinct(cloudCallsOf(calls, deployed));
}

async function bootstrap(): Promise<void> {
  const event = { RequestType: "Create" } as never;
  const hurried = { ...context, getRemainingTimeInMillis: () => bootstrapMilliseconds };
  // Without a server it ends as soon as it would begin to speak SQL.
  await bootstrapHandler(configDefaults())(event, hurried).catch(() => {});
}

async function rotate(begin: (arn: string, version: string) => void, arns: string[]): Promise<void> {
  const handler = rotateHandler(configDefaults());
  for (const SecretId of arns) {
    begin(SecretId, "second");
    const step = (Step: string) =>
      handler({ SecretId, ClientRequestToken: "second", Step } as SecretsManagerRotationEvent, context);
    await step("createSecret");
    await step("setSecret").catch(() => {});
    await step("testSecret").catch(() => {});
    await step("finishSecret");
  }
}
