import type { Environment } from "../environment.ts";
import { PgkeepError } from "../errors.ts";
import { type Exposition, prometheusText } from "../prometheus.ts";
import type { GlobalOptions, Register } from "./cli.ts";
import { health } from "./health.ts";

/** `pgkeep metrics`: the same measurements for Prometheus. Reads only. */
export const registerMetrics: Register = (program, cli) => {
  program
    .command("metrics")
    .summary("current metrics in Prometheus's text format")
    .description(
      "Measure now and print in Prometheus's text format; with --json, names and values as JSON. An unreachable database is pgkeep_up 0, with exit code 3. Reads only.",
    )
    .action(async (_: unknown, command) => {
      const options = command.optsWithGlobals() as GlobalOptions;
      const environment = await cli.open(options);
      try {
        const { exposition, problem } = await currentMetrics(environment, cli.signal);
        if (options.json === true) cli.json(exposition);
        else cli.out((await prometheusText(exposition)).trimEnd());
        if (problem !== undefined) {
          cli.note(`pgkeep: ${problem.message}`);
          if (problem.remedy !== undefined) cli.note(`What to do: ${problem.remedy}`);
          cli.setExitCode(3);
        }
      } finally {
        await environment.close();
      }
    });
};

/** Levels and running totals now; when the database does not answer, `Up` is 0 and `problem` says why. */
export async function currentMetrics(
  environment: Environment,
  signal?: AbortSignal,
): Promise<{ exposition: Exposition; problem?: PgkeepError }> {
  const database = environment.config.database.name;
  const up = (value: number) => ({ name: "Up" as const, value, dimensions: {} });
  try {
    const report = await health(environment, signal);
    return {
      exposition: {
        database: report.database,
        metrics: [up(1), ...report.metrics],
        counters: report.counters,
      },
    };
  } catch (error) {
    if (!(error instanceof PgkeepError) || !doesNotAnswer(error)) throw error;
    return { exposition: { database, metrics: [up(0)], counters: {} }, problem: error };
  }
}

const doesNotAnswer = (error: PgkeepError): boolean =>
  error.code === "unreachable" || error.code === "authentication" || error.code === "not-found";
