import { systemClock } from "../clock.ts";
import { UsageError } from "../errors.ts";
import { jobNamed, jobs } from "../jobs/index.ts";
import type { Job, JobResult } from "../jobs/job.ts";
import { runDeployed } from "../jobs/run-deployed.ts";
import { runJob } from "../jobs/runner.ts";
import type { Cli, GlobalOptions, Register } from "./cli.ts";
import { deployedDatabase, withDeployedRuns } from "./deployed.ts";
import { onOption } from "./options.ts";

interface RunCommandOptions extends GlobalOptions {
  dryRun?: boolean;
  arguments?: string;
}

/** `pgkeep run <job>`: one run of any job, now. */
export const registerRun: Register = (program, cli) => {
  program
    .command("run")
    .summary("run one job now")
    .description(
      `Run one job now, as its schedule would.\n\n${jobs.map((job) => `  ${job.name.padEnd(16)}${job.summary}`).join("\n")}`,
    )
    .argument("<job>", "the job's name")
    .option("--dry-run", "say what it would do, and change nothing")
    .option("--arguments <json>", "arguments of the job, as JSON")
    .addOption(onOption())
    .action(async (name: string, _: unknown, command) => {
      const options = command.optsWithGlobals() as RunCommandOptions;
      const job = jobNamed(name);
      const result = await runAnywhere(cli, options, job, {
        arguments: parseArguments(options.arguments),
        dryRun: options.dryRun === true,
      });
      if (options.json === true) cli.json(result);
      else cli.out(describeResult(job, result));
      if (result.outcome === "failed") cli.setExitCode(3);
    });
};

/** One run where the options say: in this process, or of what is deployed. */
export async function runAnywhere(
  cli: Cli,
  options: GlobalOptions,
  job: Job,
  given: { arguments: unknown; dryRun: boolean },
): Promise<JobResult> {
  const watching = { signal: cli.signal, onProgress: (message: string) => cli.note(message) };
  if (options.on === "aws") {
    const [config, database] = [await cli.loadConfig(options), await cli.loadDatabaseConfig(options)];
    return withDeployedRuns(options, deployedDatabase(config, database), (runs) =>
      runDeployed(job, { runs, clock: systemClock, ...given, ...watching }),
    );
  }
  const environment = await cli.open(options);
  try {
    return await runJob(job, {
      ports: environment.ports,
      config: environment.config,
      ...given,
      ...watching,
    });
  } finally {
    await environment.close();
  }
}

function parseArguments(text: string | undefined): unknown {
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UsageError("--arguments is not JSON", { cause: error });
  }
}

/** A run for people: outcome first, then what the job reports. */
export function describeResult(job: Job, result: JobResult): string {
  const lines = [`${result.job}: ${result.outcome} in ${result.seconds} s`];
  if (result.reason !== undefined) lines.push(`  ${result.reason}`);
  if (result.error?.remedy !== undefined) lines.push(`  What to do: ${result.error.remedy}`);
  for (const warning of result.warnings) lines.push(`  Note: ${warning}`);
  if (result.report !== null && result.outcome !== "skipped")
    lines.push(...describeReport(job, result).map((line) => `  ${line}`));
  return lines.join("\n");
}

function describeReport(job: Job, result: JobResult): string[] {
  // A report of a step before the last has another shape than the one that `describe` knows.
  const whole = (result.outcome === "succeeded" || result.error === undefined) && !isOmitted(result.report);
  if (job.describe !== undefined && whole) return job.describe(result.report);
  return JSON.stringify(result.report, null, 2).split("\n");
}

/** True for what a function answers instead of a report that is too large to pass on. */
function isOmitted(report: JobResult["report"]): boolean {
  return typeof report === "object" && report !== null && "omitted" in report && "bytes" in report;
}
