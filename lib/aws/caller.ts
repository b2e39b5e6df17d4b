import { GetFunctionConfigurationCommand, LambdaClient } from "@aws-sdk/client-lambda";
import { SFNClient } from "@aws-sdk/client-sfn";
import { PgkeepError } from "../errors.ts";
import { calling, isNamed } from "./errors.ts";
import { jobResourceName } from "./job-names.ts";
import { regionOf } from "./region.ts";
import { environmentNames, type PlatformResources } from "./resources.ts";

/** Longer than any function runs: its answer comes when it is done (Lambda quotas: 900 s). */
const longestAnswerMilliseconds = 930_000;

/** Clients with the credentials and the region of whoever calls: the SDK's default chain. */
export interface Caller {
  readonly region: string;
  readonly lambda: LambdaClient;
  /** For calls that must not be made twice, and whose answer may take as long as a function runs. */
  readonly invoking: LambdaClient;
  readonly states: SFNClient;
  close(): void;
}

/**
 * `given` is the region that is deployed to, where the configuration says it.
 * @throws PgkeepError `configuration` when no region is set
 */
export async function asCaller(given?: string): Promise<Caller> {
  const settings = { retryMode: "adaptive", maxAttempts: 5 };
  const lambda = new LambdaClient({
    ...settings,
    ...(given === undefined ? {} : { region: given }),
    requestHandler: timeLimits(30_000),
  });
  const region = await regionOf(lambda);
  const invoking = new LambdaClient({
    region,
    maxAttempts: 1,
    requestHandler: timeLimits(longestAnswerMilliseconds),
  });
  const states = new SFNClient({ ...settings, region, requestHandler: timeLimits(30_000) });
  return {
    region,
    lambda,
    invoking,
    states,
    close() {
      for (const client of [lambda, invoking, states]) client.destroy();
    },
  };
}

function timeLimits(requestTimeout: number) {
  return { connectionTimeout: 3_000, requestTimeout };
}

/** What was deployed with a function. */
export interface DeployedFunction {
  partition: string;
  account: string;
  region: string;
  /** Its environment variables. */
  environment: Record<string, string>;
}

/** @throws PgkeepError `not-found` when there is no such function */
export async function deployedFunction(
  { lambda, region }: Pick<Caller, "lambda" | "region">,
  key: string,
  job: string,
  step?: string,
): Promise<DeployedFunction> {
  const name = jobResourceName(key, job, step);
  return calling(`look at the function ${name} in ${region}`, async () => {
    try {
      const found = await lambda.send(new GetFunctionConfigurationCommand({ FunctionName: name }));
      const [, partition, , home, account] = (found.FunctionArn ?? "").split(":");
      if (partition === undefined || home === undefined || account === undefined) {
        throw new PgkeepError("internal", `the function ${name} has the ARN ${found.FunctionArn}`);
      }
      if (found.Environment?.Error !== undefined) {
        throw new PgkeepError(
          "insufficient-privilege",
          `the environment of the function ${name} cannot be read: ${found.Environment.Error.Message}`,
          { remedy: "let your identity use the key that encrypts it (kms:Decrypt)" },
        );
      }
      return { partition, region: home, account, environment: found.Environment?.Variables ?? {} };
    } catch (error) {
      if (isNamed(error, "ResourceNotFound")) throw notDeployed(key, job, region, error);
      throw error;
    }
  });
}

/**
 * The platform of one database as this function knows it, and its configuration as `beyondDefaults` wrote it: what
 * was deployed, whatever the file says by now. Neither has secrets. A function is told what it needs, so choose one
 * that does what is to be done.
 * @throws PgkeepError `not-found` when it is not deployed
 */
export async function deployedPlatform(
  caller: Pick<Caller, "lambda" | "region">,
  key: string,
  job: string,
  step: string,
): Promise<{ resources: PlatformResources; config: string }> {
  const { environment } = await deployedFunction(caller, key, job, step);
  const resources = environment[environmentNames.resources];
  const config = environment[environmentNames.config];
  try {
    if (resources === undefined || config === undefined) throw new Error("it is not set");
    return { resources: JSON.parse(resources) as PlatformResources, config };
  } catch (cause) {
    throw new PgkeepError(
      "configuration",
      `the function ${jobResourceName(key, job, step)} in ${caller.region} does not say what it works with`,
      { remedy: "deploy it again with pgkeep's stacks: `npx cdk deploy --all`", cause },
    );
  }
}

export function notDeployed(key: string, job: string, region: string, cause: unknown): PgkeepError {
  return new PgkeepError("not-found", `${job} of the database ${key} is not deployed in ${region}`, {
    remedy:
      "run `npx cdk deploy --all`; or choose the place where it is with AWS_REGION or account.region, and AWS_PROFILE",
    cause,
  });
}
