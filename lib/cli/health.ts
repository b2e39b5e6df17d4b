import type { Severity } from "../checks/check.ts";
import { describeHealth } from "../checks/describe-health.ts";
import {
  assessedAnything,
  checkHealth,
  type HealthReport,
  hasFindingAtLeast,
  severities,
} from "../checks/health.ts";
import { readPreviousSample } from "../checks/samples.ts";
import type { Environment } from "../environment.ts";
import { PgkeepError, UsageError } from "../errors.ts";
import type { ExitCode, GlobalOptions, Register } from "./cli.ts";

interface HealthOptions extends GlobalOptions {
  failOn?: Severity;
}

/** `pgkeep health`: how the database is now. Reads only. */
export const registerHealth: Register = (program, cli) => {
  program
    .command("health")
    .summary("how the database is now, the worst first")
    .description(
      "Ask every health check now, and print what is wrong with what to do, the worst first. Reads only.",
    )
    .option(
      "--fail-on <severity>",
      `exit with 1 when there is a finding this bad or worse: ${severities.join(", ")}`,
      parseSeverity,
    )
    .action(async (_: unknown, command) => {
      const options = command.optsWithGlobals() as HealthOptions;
      const environment = await cli.open(options);
      try {
        const report = await health(environment, cli.signal);
        if (options.json === true) cli.json(report);
        else cli.out(describeHealth(report).join("\n"));
        cli.setExitCode(exitCodeOf(report, options.failOn));
      } finally {
        await environment.close();
      }
    });
};

/**
 * Every health check against the primary of an environment, compared with the last run of check-health
 * where there is one.
 * @throws PgkeepError `unreachable`, `authentication` …
 */
export async function health(environment: Environment, signal?: AbortSignal): Promise<HealthReport> {
  const { primary, clock } = environment.ports;
  if (primary === undefined) {
    throw new PgkeepError("refused", `${environment.description} has no database to ask`, {
      remedy: "give --url postgres://…",
    });
  }
  const session = await primary.connect({
    role: "monitoring",
    ...(signal === undefined ? {} : { signal }),
  });
  try {
    return await checkHealth({
      session,
      config: environment.config,
      previous: await readPreviousSample(session),
      now: clock.now(),
    });
  } finally {
    await session.close();
  }
}

export function exitCodeOf(report: HealthReport, failOn: Severity | undefined): ExitCode {
  if (!assessedAnything(report)) return 3;
  return failOn !== undefined && hasFindingAtLeast(report, failOn) ? 1 : 0;
}

export function parseSeverity(text: string): Severity {
  const severity = severities.find((one) => one === text);
  if (severity === undefined) {
    throw new UsageError(`--fail-on ${JSON.stringify(text)} is not a severity`, {
      remedy: `give one of: ${severities.join(", ")}`,
    });
  }
  return severity;
}
