import { randomBytes } from "node:crypto";
import { Logger } from "@aws-lambda-powertools/logger";
import type { Context, SecretsManagerRotationEvent } from "aws-lambda";
import { rdsCertificates } from "../lib/aws/rds-certificates.ts";
import type { PlatformResources } from "../lib/aws/resources.ts";
import { awsSecrets, type SecretLogin, type Secrets } from "../lib/aws/secrets.ts";
import { PgkeepError } from "../lib/errors.ts";
import { scramVerifier } from "../lib/install/scram.ts";
import type { Session } from "../lib/ports/databases.ts";
import { connect } from "../lib/postgres/connect.ts";
import { identifier, literal } from "../lib/postgres/identifiers.ts";
import { type ConfigDefaults, functionEnvironment } from "./handler.ts";

/**
 * Rotates the password of one login in the four steps of Secrets Manager. Each role changes its own password, so
 * no other secret is needed; each step may come twice.
 * https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotate-secrets_lambda-functions.html
 */
export function rotateHandler(defaults: ConfigDefaults) {
  const logger = new Logger({ serviceName: "pgkeep-rotate" });
  return async (event: SecretsManagerRotationEvent, context: Context): Promise<void> => {
    logger.addContext(context);
    const { resources } = functionEnvironment(defaults);
    const rotation = new Rotation(awsSecrets(resources.region), resources, event);
    try {
      await rotation.perform();
      logger.info(`${event.Step} of ${event.SecretId}: done`);
    } catch (error) {
      logger.error(`${event.Step} of ${event.SecretId} failed`, error as Error);
      throw error;
    }
  };
}

class Rotation {
  readonly #secrets: Secrets;
  readonly #resources: PlatformResources;
  readonly #event: SecretsManagerRotationEvent;

  constructor(secrets: Secrets, resources: PlatformResources, event: SecretsManagerRotationEvent) {
    this.#secrets = secrets;
    this.#resources = resources;
    this.#event = event;
  }

  async perform(): Promise<void> {
    const { SecretId: id, ClientRequestToken: version, Step: step } = this.#event;
    const { rotates, versions } = await this.#secrets.stages(id);
    const stages = versions[version];
    if (!rotates) throw new PgkeepError("refused", `the secret ${id} is not set to rotate`);
    if (stages === undefined)
      throw new PgkeepError("not-found", `the secret ${id} has no version ${version}`);
    if (stages.includes("AWSCURRENT")) return;
    if (!stages.includes("AWSPENDING")) {
      throw new PgkeepError("refused", `version ${version} of the secret ${id} is not pending`);
    }
    if (step === "createSecret") await this.#create();
    else if (step === "setSecret") await this.#set();
    else if (step === "testSecret") await (await this.#open(await this.#pending())).close();
    else await this.#finish(versions);
  }

  async #create(): Promise<void> {
    const { SecretId: id, ClientRequestToken: version } = this.#event;
    if ((await this.#secrets.read(id, "AWSPENDING", version)) !== undefined) return;
    const current = await this.#current();
    await this.#secrets.putPending(id, version, {
      ...current,
      // 192 bits, in characters that no connection string has to escape.
      password: randomBytes(24).toString("base64url"),
    });
  }

  async #set(): Promise<void> {
    const pending = await this.#pending();
    const current = await this.#current();
    if (pending.username !== current.username) {
      throw new PgkeepError("refused", "a rotation changes the password, never whose it is");
    }
    if (await this.#works(pending)) return;
    const previous = await this.#secrets.read(this.#event.SecretId, "AWSPREVIOUS");
    const usable = previous?.username === current.username ? previous : undefined;
    const session = await this.#openFirst(usable === undefined ? [current] : [current, usable]);
    try {
      // The role for reports is read-only by default.
      await session.query("set default_transaction_read_only = off");
      const verifier = await scramVerifier(pending.password);
      await session.query(`alter role ${identifier(pending.username)} password ${literal(verifier)}`);
    } finally {
      await session.close();
    }
  }

  async #finish(versions: Record<string, string[]>): Promise<void> {
    const current = Object.keys(versions).find((version) => versions[version]?.includes("AWSCURRENT"));
    await this.#secrets.promote(this.#event.SecretId, this.#event.ClientRequestToken, current);
  }

  async #current(): Promise<SecretLogin> {
    const current = await this.#secrets.read(this.#event.SecretId);
    if (current === undefined) throw new PgkeepError("not-found", "the secret has no current version");
    return current;
  }

  async #pending(): Promise<SecretLogin> {
    const { SecretId: id, ClientRequestToken: version } = this.#event;
    const pending = await this.#secrets.read(id, "AWSPENDING", version);
    if (pending === undefined) throw new PgkeepError("not-found", `the secret ${id} has no new password yet`);
    return pending;
  }

  /** Where the platform says, whatever stands in the secret. */
  #open({ username, password }: SecretLogin): Promise<Session> {
    const { primary, databaseName } = this.#resources;
    return connect({
      host: primary.host,
      port: primary.port,
      database: databaseName,
      user: username,
      password,
      ssl: { ca: rdsCertificates(), rejectUnauthorized: true },
      applicationName: "pgkeep rotation",
    });
  }

  async #works(login: SecretLogin): Promise<boolean> {
    try {
      await (await this.#open(login)).close();
      return true;
    } catch (error) {
      if (error instanceof PgkeepError && error.code === "authentication") return false;
      throw error;
    }
  }

  async #openFirst([login, ...others]: SecretLogin[]): Promise<Session> {
    if (login === undefined) {
      throw new PgkeepError("authentication", "neither the current nor the previous password is the role's", {
        remedy: "deploy again: the bootstrap sets the current one",
      });
    }
    try {
      return await this.#open(login);
    } catch (error) {
      if (!(error instanceof PgkeepError && error.code === "authentication")) throw error;
      return await this.#openFirst(others);
    }
  }
}
