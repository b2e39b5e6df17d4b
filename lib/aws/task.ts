import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { S3Client } from "@aws-sdk/client-s3";
import { systemClock } from "../clock.ts";
import { PgkeepError } from "../errors.ts";
import { packageRoot } from "../package-root.ts";
import { calling } from "./errors.ts";
import { type AwsKeys, iamToken } from "./iam-token.ts";
import { rdsCertificatesFile } from "./rds-certificates.ts";
import { awsSecrets } from "./secrets.ts";
import { type TaskSetting, taskSettingName } from "./task-setting.ts";

export interface OpenedTask {
  /** Of the database, with the password; a token of IAM opens connections for 15 minutes. */
  url: string;
  configFile: string;
}

/**
 * What a command needs to run inside a task: the URL of the database, verified against the authorities of RDS, and
 * a configuration file.
 * @param keys by default those of the task's role, as the SDK finds them
 * @throws PgkeepError `configuration` when the setting is missing; what reading the secret throws
 */
export async function openTask(
  environment: Record<string, string | undefined>,
  keys: (region: string) => Promise<AwsKeys> = roleKeys,
): Promise<OpenedTask> {
  const text = environment[taskSettingName];
  if (text === undefined || text === "") {
    throw new PgkeepError("configuration", `${taskSettingName} is not set`, {
      remedy: "start this image as the task that pgkeep's stack defines",
    });
  }
  const { host, port, database, user, secretArn, region, config } = JSON.parse(text) as TaskSetting;
  const password =
    secretArn === undefined
      ? iamToken({ host, port, user, region, keys: await keys(region), now: systemClock.now() })
      : (await awsSecrets(region).read(secretArn))?.password;
  const url = new URL(`postgres://${host}:${port}/${encodeURIComponent(database)}`);
  url.username = encodeURIComponent(user);
  url.password = encodeURIComponent(password ?? "");
  url.searchParams.set("sslmode", "verify-full");
  url.searchParams.set("sslrootcert", join(packageRoot, rdsCertificatesFile));
  const configFile = join(await mkdtemp(join(tmpdir(), "pgkeep-task-")), "pgkeep.yaml");
  await writeFile(configFile, JSON.stringify(config), { mode: 0o600 });
  return { url: url.href, configFile };
}

async function roleKeys(region: string): Promise<AwsKeys> {
  const client = new S3Client({ region });
  try {
    const found = await calling("find the credentials of the task's role", () => client.config.credentials());
    const { accessKeyId, secretAccessKey, sessionToken } = found;
    return { accessKeyId, secretAccessKey, ...(sessionToken === undefined ? {} : { sessionToken }) };
  } finally {
    client.destroy();
  }
}
