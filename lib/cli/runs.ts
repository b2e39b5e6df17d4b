import type { Command } from "commander";
import { systemClock } from "../clock.ts";
import type { DatabaseConfig } from "../config/schema.ts";
import { UsageError } from "../errors.ts";
import { jobNamed } from "../jobs/index.ts";
import { type RunListReport, runList } from "../jobs/run-list.ts";
import { durationText } from "../words.ts";
import type { Cli, ExitCode, GlobalOptions, Register } from "./cli.ts";
import { onOption, several } from "./options.ts";
import { describeResult, runAnywhere } from "./run.ts";

type RunName = keyof DatabaseConfig["runs"];

interface RunsOptions extends GlobalOptions {
  dryRun?: boolean;
  skip?: string[];
}

const summaries: Record<RunName, string> = {
  daily: "the jobs of a day, one after the other",
  weekly: "the jobs of a week, one after the other",
  "pre-deploy": "before a release: is it well, and is there a backup? Stops at the first no",
  "post-deploy": "after a release: statistics, then is it well?",
};

/** `pgkeep daily`, `weekly`, `pre-deploy` and `post-deploy`: lists of jobs from the configuration. */
export const registerRuns: Register = (program, cli) => {
  for (const name of Object.keys(summaries) as RunName[]) registerOne(program, cli, name);
};

function registerOne(program: Command, cli: Cli, name: RunName): void {
  program
    .command(name)
    .summary(summaries[name])
    .description(
      `Run the jobs that the configuration lists under runs.${name}, one after the other, and report on all of them.\n` +
        `Exits with 1 for a health finding as bad as runs.${name}.failOn, with 3 when a job failed or did not run.`,
    )
    .option("--dry-run", "say what each job would do, and change nothing")
    .option("--skip <job>", "leave this job out; may be repeated", several)
    .addOption(onOption())
    .action(async (_: unknown, command) => {
      const options = command.optsWithGlobals() as RunsOptions;
      const { jobs, stopOnFailure, failOn } = (await cli.loadDatabaseConfig(options)).runs[name];
      const report = await runList({
        name,
        jobs: without(jobs, options.skip ?? []).map(jobNamed),
        stopOnFailure,
        failOn,
        clock: systemClock,
        signal: cli.signal,
        runOne: (job) =>
          runAnywhere(cli, options, job, { arguments: undefined, dryRun: options.dryRun === true }),
        onFinished: (job, result) => {
          if (options.json !== true) cli.out(`${describeResult(job, result)}\n`);
        },
      });
      if (options.json === true) cli.json(report);
      else cli.out(summaryText(report));
      cli.setExitCode(exitCodes[report.outcome]);
    });
}

const exitCodes: Record<RunListReport["outcome"], ExitCode> = { succeeded: 0, findings: 1, failed: 3 };

/** @throws UsageError for a job that is not in the list: a misspelt one would run */
function without<Name extends string>(jobs: readonly Name[], skipped: readonly string[]): Name[] {
  const unknown = skipped.find((name) => !jobs.some((job) => job === name));
  if (unknown !== undefined) {
    throw new UsageError(`--skip ${JSON.stringify(unknown)} names no job of this run`, {
      remedy: `it has ${jobs.join(", ")}`,
    });
  }
  const left = jobs.filter((job) => !skipped.includes(job));
  if (left.length === 0) throw new UsageError("nothing is left to run", { remedy: "skip fewer jobs" });
  return left;
}

function summaryText(report: RunListReport): string {
  const each = report.jobs.map(({ job, outcome, reason }) =>
    reason === undefined ? `  ${job}: ${outcome}` : `  ${job}: ${outcome}: ${reason}`,
  );
  const others = report.notRun.map(({ job, reason }) => `  ${job}: not run: ${reason}`);
  return [`${report.run}: ${report.outcome} in ${durationText(report.seconds)}`, ...each, ...others].join(
    "\n",
  );
}
