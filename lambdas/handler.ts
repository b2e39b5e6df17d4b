import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Logger } from "@aws-lambda-powertools/logger";
import type { Context } from "aws-lambda";
import { environmentNames, type PlatformResources, suppressionsFile } from "../lib/aws/resources.ts";
import { deployedConfig } from "../lib/config/deployed.ts";
import type { JobConfig } from "../lib/config/schema.ts";
import type { Suppression } from "../lib/config/suppressions.ts";
import { type ErrorCode, PgkeepError } from "../lib/errors.ts";
import {
  type ClaimAnswer,
  type ClaimEvent,
  type FinishEvent,
  maximumStateBytes,
  type RunTrigger,
  type StepAnswer,
  type StepEvent,
} from "../lib/jobs/invocation.ts";
import type { Job, JobResult } from "../lib/jobs/job.ts";
import { claimRun, finishRun, runOneStep, type StepOptions } from "../lib/jobs/run-one-step.ts";
import { runJob } from "../lib/jobs/runner.ts";
import type { Json } from "../lib/json.ts";
import { packageRoot } from "../lib/package-root.ts";
import type { Ports } from "../lib/ports/index.ts";
import { bytesOf, carried, omitted, passable, requirePassableTrigger } from "./answer.ts";

/** What a function works with: read from its environment once, when it starts. */
export interface FunctionEnvironment {
  config: JobConfig;
  resources: PlatformResources;
}

/** What `configDefaults()` gave when the function was bundled. */
export type ConfigDefaults = Omit<JobConfig, "key">;

/** Makes the ports of a step's place; each place bundles only what it can use. */
export type OpenPorts = (environment: FunctionEnvironment) => Ports;

export type FunctionEvent = RunTrigger | ClaimEvent | StepEvent | FinishEvent | null | undefined;

/** What a function needs at its end to give up, record the run and answer, in milliseconds. */
const windingDownMilliseconds = 15_000;

/**
 * The Lambda function of one step. A job with a single step runs whole: locked, recorded, measured, and it throws
 * when the run failed. A step of several is executed once for each call of its state machine; the function of the
 * job's recorder also takes the call that ends the run.
 */
export function stepHandler(
  job: Job,
  stepName: string,
  openPorts: OpenPorts,
  defaults: ConfigDefaults,
): (event: FunctionEvent, context: Context) => Promise<JobResult | StepAnswer | ClaimAnswer> {
  const logger = new Logger({
    serviceName: `pgkeep-${job.name}`,
    persistentLogAttributes: { job: job.name, step: stepName },
  });
  const environment = functionEnvironment(defaults);
  const ports = openPorts(environment);
  return async (event, context) => {
    logger.addContext(context);
    const ending = new AbortController();
    const left = context.getRemainingTimeInMillis();
    const reserved = Math.min(windingDownMilliseconds, left / 4);
    const timer = setTimeout(
      () => ending.abort(new PgkeepError("deadline", `${job.name}/${stepName}: the function's time is over`)),
      left - reserved,
    );
    const options: StepOptions = {
      ports,
      config: environment.config,
      signal: ending.signal,
      onProgress: (message) => logger.info(message),
      timeLeft: () => context.getRemainingTimeInMillis() - reserved,
    };
    try {
      return await answer(job, stepName, event ?? {}, options, logger);
    } catch (error) {
      logger.error(`${job.name}/${stepName} failed`, error as Error);
      throw carried(error);
    } finally {
      clearTimeout(timer);
    }
  };
}

async function answer(
  job: Job,
  stepName: string,
  event: NonNullable<FunctionEvent>,
  options: StepOptions,
  logger: Logger,
): Promise<JobResult | StepAnswer | ClaimAnswer> {
  if ("finish" in event) return logged(logger, await finishRun(job, event, options));
  if ("claim" in event) {
    requirePassableTrigger(job, event.trigger);
    const { answer: given, warnings } = await claimRun(job, event, options);
    for (const warning of warnings) logger.warn(warning);
    if (given.kind === "skipped") logger.warn(`not begun: ${given.reason}`);
    return given;
  }
  if ("run" in event) {
    if (!isCleanUp(job, stepName)) requirePassableTrigger(job, event.trigger);
    const { answer: given, warnings } = await runOneStep(job, stepName, event, options);
    for (const warning of warnings) logger.warn(warning);
    logger.info(`${job.name}/${stepName}: ${given.kind}`, { runId: event.run.id, ...summary(given) });
    return passable(job, stepName, given);
  }
  if (job.steps.length > 1) {
    throw new PgkeepError("usage", `${job.name} has several steps; its state machine runs them`, {
      remedy: `start the state machine of ${job.name}`,
    });
  }
  const result = logged(
    logger,
    await runJob(job, { ...options, arguments: event.arguments, dryRun: event.dryRun === true }),
  );
  if (result.outcome === "failed" && event.answerFailures !== true) throw new JobFailed(result);
  return result;
}

function isCleanUp(job: Job, stepName: string): boolean {
  return job.steps.some(({ name, always }) => name === stepName && always);
}

/** What a scheduler, an alarm and a person see of a run that failed. The report is in `pgkeep.job_run`. */
export class JobFailed extends PgkeepError {
  constructor(result: JobResult) {
    const { remedy, code } = result.error ?? {};
    super(
      (code ?? "internal") as ErrorCode,
      `${result.job} (run ${result.runId}) failed: ${result.reason ?? "no reason was given"}`,
      remedy === undefined ? {} : { remedy },
    );
    this.name = "JobFailed";
  }
}

function logged(logger: Logger, result: JobResult): JobResult {
  const { report, warnings, ...rest } = result;
  for (const warning of warnings) logger.warn(warning);
  const text = `${result.job} ${result.outcome}${result.reason === undefined ? "" : `: ${result.reason}`}`;
  if (result.outcome === "failed") logger.error(text, { result: rest });
  else logger.info(text, { result: rest });
  return bytesOf(result) <= maximumStateBytes ? result : { ...result, report: omitted(report) };
}

function summary(given: StepAnswer): Record<string, Json> {
  if (given.kind === "again") return { afterSeconds: given.afterSeconds };
  return given.kind === "failed" ? { reason: given.reason } : {};
}

/** @throws PgkeepError `configuration` when a variable is missing or damaged */
export function functionEnvironment(defaults: ConfigDefaults): FunctionEnvironment {
  return {
    config: withSuppressions(deployedConfig(required(environmentNames.config), defaults)),
    resources: JSON.parse(required(environmentNames.resources)) as PlatformResources,
  };
}

/** With what synthesis has put beside the code of the functions that read it; to the others it is of no use. */
function withSuppressions(config: JobConfig): JobConfig {
  const file = join(packageRoot, suppressionsFile);
  if (config.review.suppressions === undefined || !existsSync(file)) return config;
  return { ...config, suppressions: JSON.parse(readFileSync(file, "utf8")) as Suppression[] };
}

/** @throws PgkeepError `configuration` */
export function required(name: string): string {
  const value = process.env[name];
  if (value !== undefined && value !== "") return value;
  throw new PgkeepError("configuration", `the environment variable ${name} is missing`, {
    remedy: "deploy the function with pgkeep's stacks, which set it",
  });
}
