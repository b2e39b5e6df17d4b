import { Logger } from "@aws-lambda-powertools/logger";
import type { CloudFormationCustomResourceEvent, Context } from "aws-lambda";
import { rdsCertificates } from "../lib/aws/rds-certificates.ts";
import { environmentNames } from "../lib/aws/resources.ts";
import { awsSecrets, type SecretLogin, type Secrets } from "../lib/aws/secrets.ts";
import { systemClock } from "../lib/clock.ts";
import { PgkeepError } from "../lib/errors.ts";
import { applyInstall } from "../lib/install/apply.ts";
import { roleNames } from "../lib/install/role-names.ts";
import type { Session } from "../lib/ports/databases.ts";
import { connect } from "../lib/postgres/connect.ts";
import { type ConfigDefaults, type FunctionEnvironment, functionEnvironment, required } from "./handler.ts";

export interface BootstrapAnswer {
  PhysicalResourceId: string;
  /** What the template may refer to; CloudFormation shows it to everybody, so there is nothing secret. */
  Data?: { Outcome: string; SchemaVersion: number };
}

/** Logins that have a password in a secret of their own. */
type PasswordLogin = "app" | "reporting" | "migrations";

/** A new server's name may not be known everywhere at once, and a paused one has to wake up. */
const attempts = 5;
const pauseMilliseconds = 5_000;
/** What is left for the answer when the installation is given up. */
const windingDownMilliseconds = 5_000;

/**
 * The function behind the custom resource that installs roles and schema (CDK's provider framework, `onEvent`).
 * Creating and updating are the same and repeatable; a rollback installs what the older version knows. Deleting
 * does nothing: roles and data belong to the database and go with it.
 */
export function bootstrapHandler(defaults: ConfigDefaults) {
  const logger = new Logger({ serviceName: "pgkeep-bootstrap" });
  return async (event: CloudFormationCustomResourceEvent, context: Context): Promise<BootstrapAnswer> => {
    logger.addContext(context);
    const environment = functionEnvironment(defaults);
    // Always the same: with another one CloudFormation would take it for a replacement and delete the older.
    const answer = { PhysicalResourceId: `pgkeep-${environment.config.key}-roles` };
    if (event.RequestType === "Delete") return answer;
    const giveUp = new AbortController();
    const timer = setTimeout(
      () =>
        giveUp.abort(
          new PgkeepError("deadline", "the installation did not end in time; all of it was rolled back"),
        ),
      context.getRemainingTimeInMillis() - windingDownMilliseconds,
    );
    try {
      const { region } = environment.resources;
      const report = await install(environment, awsSecrets(region), giveUp.signal);
      logger.info(`roles and schema of ${report.database}: ${report.outcome}`, { report: { ...report } });
      for (const { reason, sql } of [...report.blocked, ...report.unresolved]) {
        logger.warn(`left as it was: ${reason}`, { sql });
      }
      return { ...answer, Data: { Outcome: report.outcome, SchemaVersion: report.schemaVersion } };
    } catch (error) {
      logger.error("roles and schema were not installed", error as Error);
      throw explained(error);
    } finally {
      clearTimeout(timer);
    }
  };
}

/** CloudFormation shows only the message. */
function explained(error: unknown): unknown {
  if (!(error instanceof PgkeepError) || error.remedy === undefined) return error;
  return new PgkeepError(error.code, `${error.message}: ${error.remedy}`, { cause: error });
}

async function install(environment: FunctionEnvironment, secrets: Secrets, signal: AbortSignal) {
  const master = await login(secrets, required(environmentNames.masterSecret));
  const passwords = await passwordsOf(environment, secrets);
  const session = await connectPatiently(environment, master, signal);
  try {
    return await applyInstall(session, environment.config, { passwords, signal });
  } finally {
    await session.close();
  }
}

async function passwordsOf({ config }: FunctionEnvironment, secrets: Secrets) {
  const arns = JSON.parse(required(environmentNames.loginSecrets)) as Partial<Record<PasswordLogin, string>>;
  const names = roleNames(config);
  const passwords: Record<string, string> = {};
  for (const [name, arn] of Object.entries(arns)) {
    passwords[names[name as PasswordLogin]] = (await login(secrets, arn)).password;
  }
  return passwords;
}

async function login(secrets: Secrets, arn: string): Promise<SecretLogin> {
  const found = await secrets.read(arn);
  if (found === undefined) throw new PgkeepError("not-found", `the secret ${arn} has no current version`);
  return found;
}

async function connectPatiently(
  { resources }: FunctionEnvironment,
  { username, password }: SecretLogin,
  signal: AbortSignal,
): Promise<Session> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await connect(
        {
          host: resources.primary.host,
          port: resources.primary.port,
          database: resources.databaseName,
          user: username,
          password,
          ssl: { ca: rdsCertificates(), rejectUnauthorized: true },
          applicationName: "pgkeep install",
        },
        { signal },
      );
    } catch (error) {
      const waking = error instanceof PgkeepError && error.code === "unreachable";
      if (!waking || attempt === attempts) throw error;
      await systemClock.sleep(pauseMilliseconds, signal);
    }
  }
}
