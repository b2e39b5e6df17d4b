import {
  DescribeSecretCommand,
  GetSecretValueCommand,
  PutSecretValueCommand,
  ResourceNotFoundException,
  SecretsManagerClient,
  UpdateSecretVersionStageCommand,
} from "@aws-sdk/client-secrets-manager";
import { PgkeepError } from "../errors.ts";
import { calling } from "./errors.ts";

/** A login as Secrets Manager's own rotation writes it; what else is in the secret stays. */
export interface SecretLogin {
  username: string;
  password: string;
  [name: string]: unknown;
}

/** `AWSCURRENT` is in use, `AWSPENDING` comes next, `AWSPREVIOUS` was before. */
export type SecretStage = "AWSCURRENT" | "AWSPENDING" | "AWSPREVIOUS";

export interface Secrets {
  /**
   * The login in this stage (and version, when given); undefined when there is none.
   * @throws PgkeepError `not-found`, `insufficient-privilege`, `configuration` when the secret is no login
   */
  read(id: string, stage?: SecretStage, version?: string): Promise<SecretLogin | undefined>;
  /** Stages by version. */
  stages(id: string): Promise<{ rotates: boolean; versions: Record<string, string[]> }>;
  /** Stores a version as `AWSPENDING`. */
  putPending(id: string, version: string, login: SecretLogin): Promise<void>;
  /** Makes `version` the current one. */
  promote(id: string, version: string, from: string | undefined): Promise<void>;
}

/** Logins in Secrets Manager. Nothing of their contents is ever part of an error. */
export function awsSecrets(region: string): Secrets {
  const client = new SecretsManagerClient({ region, maxAttempts: 5 });
  return {
    async read(id, stage = "AWSCURRENT", version) {
      const text = await calling(`read the secret ${id}`, async () => {
        try {
          const versionId = version === undefined ? {} : { VersionId: version };
          const command = new GetSecretValueCommand({ SecretId: id, VersionStage: stage, ...versionId });
          return (await client.send(command)).SecretString ?? "";
        } catch (error) {
          // Of AWSCURRENT every secret has one: then it is the secret itself that is missing.
          if (error instanceof ResourceNotFoundException && stage !== "AWSCURRENT") return undefined;
          throw error;
        }
      });
      return text === undefined ? undefined : loginIn(text, id);
    },
    async stages(id) {
      const { RotationEnabled, VersionIdsToStages } = await calling(`look at the secret ${id}`, () =>
        client.send(new DescribeSecretCommand({ SecretId: id })),
      );
      return { rotates: RotationEnabled === true, versions: VersionIdsToStages ?? {} };
    },
    async putPending(id, version, login) {
      await calling(`write the secret ${id}`, () =>
        client.send(
          new PutSecretValueCommand({
            SecretId: id,
            ClientRequestToken: version,
            SecretString: JSON.stringify(login),
            VersionStages: ["AWSPENDING"],
          }),
        ),
      );
    },
    async promote(id, version, from) {
      await calling(`finish the rotation of the secret ${id}`, () =>
        client.send(
          new UpdateSecretVersionStageCommand({
            SecretId: id,
            VersionStage: "AWSCURRENT",
            MoveToVersionId: version,
            ...(from === undefined ? {} : { RemoveFromVersionId: from }),
          }),
        ),
      );
    },
  };
}

function loginIn(text: string, id: string): SecretLogin {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = undefined;
  }
  const login = value as Partial<SecretLogin> | null | undefined;
  if (typeof login?.username === "string" && typeof login.password === "string") return login as SecretLogin;
  throw new PgkeepError("configuration", `the secret ${id} holds no login`, {
    remedy: "it has to be JSON with username and password; deploy again, or put that back",
  });
}
