import { describeForecasts } from "../history/describe.ts";
import { type Forecasts, forecast } from "../history/forecast.ts";
import type { ExitCode, GlobalOptions, Register } from "./cli.ts";
import { withMonitoring } from "./history.ts";
import { wholeNumber } from "./options.ts";

interface ForecastOptions extends GlobalOptions {
  within?: number;
}

/** `pgkeep forecast`: when storage, ids and integer keys run out. Reads only. */
export const registerForecast: Register = (program, cli) => {
  program
    .command("forecast")
    .summary("when storage, transaction ids or an integer key run out")
    .description(
      "When storage, transaction ids, multixact ids and integer keys run out, by what collect-history has noted in the\n" +
        "last 90 days, what ends first first, each with how far it is to be trusted. Reads only.\n" +
        "Exits with 3 when there is too little history to assess anything.",
    )
    .option("--within <days>", "exit with 1 when something ends within so many days", wholeNumber(1, 36_500))
    .action(async (_: unknown, command) => {
      const options = command.optsWithGlobals() as ForecastOptions;
      const environment = await cli.open(options);
      const found = await withMonitoring(environment, cli.signal, (session) =>
        forecast(session, environment.config.database),
      );
      if (options.json === true) cli.json(found);
      else cli.out(describeForecasts(found).join("\n"));
      cli.setExitCode(exitCodeOf(found, options.within));
    });
};

export function exitCodeOf({ forecasts }: Forecasts, within: number | undefined): ExitCode {
  if (forecasts.every(({ verdict }) => verdict === "not-assessable")) return 3;
  const ends = forecasts.some(
    ({ verdict, days }) => verdict === "ends" && within !== undefined && (days ?? 0) <= within,
  );
  return ends ? 1 : 0;
}
