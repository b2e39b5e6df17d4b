import { Option } from "commander";
import { createLogUpdate } from "log-update";
import {
  type DayOfLoad,
  type Interval,
  loadByDay,
  type Order,
  orders,
  type TopStatement,
  type TopStatements,
  topStatements,
  watchStatements,
} from "../checks/workload/top.ts";
import { UsageError } from "../errors.ts";
import { bytesText, countText, durationText } from "../words.ts";
import type { Cli, GlobalOptions, Register } from "./cli.ts";
import { withMonitoring } from "./history.ts";
import { wholeNumber } from "./options.ts";

interface QueriesOptions extends GlobalOptions {
  by: Order;
  limit: number;
  over: number;
  days: number;
  every: number;
  times?: number;
}

/** What `--json` of `top` and `slow` prints. */
export type QueriesDocument = TopStatements & { load: DayOfLoad[] };

/** `pgkeep queries`: which statements cost what. Reads only. */
export const registerQueries: Register = (program, cli) => {
  const queries = program
    .command("queries")
    .summary("which statements take the time, are slow, or run now")
    .description(
      "Statements of one database by what they cost, from pg_stat_statements. Their texts are shown without the\nvalues in them. Reads only.",
    );
  const by = () =>
    new Option("--by <measure>", "order: total time, mean time, calls, rows, or blocks read and written")
      .choices([...orders])
      .default("total");
  queries
    .command("top")
    .description(
      "statements that cost the most since they are counted, and the load day by day where history was collected",
    )
    .addOption(by())
    .option("--limit <number>", "statements shown", wholeNumber(1, 1_000), 10)
    .option("--days <number>", "days of load, from the history", wholeNumber(1, 3_660), 14)
    .action(async (_: unknown, command) => {
      const options = command.optsWithGlobals() as QueriesOptions;
      await show(cli, options, { by: options.by, limit: options.limit });
    });
  queries
    .command("slow")
    .description("statements that take long on average, the slowest first")
    .option("--over <milliseconds>", "how long on average", wholeNumber(0, 86_400_000), 1_000)
    .option("--limit <number>", "statements shown", wholeNumber(1, 1_000), 10)
    .option("--days <number>", "days of load, from the history", wholeNumber(1, 3_660), 14)
    .action(async (_: unknown, command) => {
      const options = command.optsWithGlobals() as QueriesOptions;
      await show(cli, options, { by: "mean", limit: options.limit, slowerThanMilliseconds: options.over });
    });
  queries
    .command("watch")
    .description("what runs now: the difference every few seconds, until Ctrl-C")
    .addOption(by())
    .option("--limit <number>", "statements shown", wholeNumber(1, 1_000), 10)
    .option("--every <seconds>", "how often", wholeNumber(1, 3_600), 5)
    .option("--times <number>", "end after so many differences; needed with --json", wholeNumber(1, 100_000))
    .action(async (_: unknown, command) => {
      await watch(cli, command.optsWithGlobals() as QueriesOptions);
    });
};

async function show(
  cli: Cli,
  options: QueriesOptions,
  request: Parameters<typeof topStatements>[1],
): Promise<void> {
  const document = await withMonitoring(
    await cli.open(options),
    cli.signal,
    async (session): Promise<QueriesDocument> => ({
      ...(await topStatements(session, request)),
      load: await loadByDay(session, options.days),
    }),
  );
  if (options.json === true) cli.json(document);
  else cli.out(describeTop(document, cli.table).join("\n"));
}

async function watch(cli: Cli, options: QueriesOptions): Promise<void> {
  const { json, times, by, limit, every } = options;
  if (json === true && times === undefined) {
    throw new UsageError("watch goes on until it is stopped, and --json is one document", {
      remedy: "say how many differences it is to have with --times",
    });
  }
  const intervals: Interval[] = [];
  await withMonitoring(await cli.open(options), cli.signal, async (session) => {
    const screen = cli.isTerminal && json !== true ? createLogUpdate(process.stdout) : undefined;
    const request = { by, limit, intervalSeconds: every, signal: cli.signal };
    let seen = 0;
    try {
      for await (const interval of watchStatements(session, request)) {
        seen += 1;
        if (json === true) intervals.push(interval);
        else if (screen === undefined) cli.out(describeInterval(interval).join("\n"));
        else
          screen(
            [
              `${line(session.database)}, every ${durationText(every)}; Ctrl-C ends`,
              ...describeInterval(interval),
            ].join("\n"),
          );
        if (seen === times) break;
      }
    } catch (error) {
      // Ctrl-C is how it ends.
      if (!cli.signal.aborted) throw error;
    } finally {
      screen?.done();
    }
  });
  if (json === true) cli.json({ by, every, intervals });
}

/** A line for each statement, and one for each day of load. */
export function describeTop(
  { database, statements, by, since, seconds, totalMilliseconds, notes, load }: QueriesDocument,
  table: Cli["table"],
): string[] {
  const counted =
    since === null ? "" : ` since ${since}${seconds === null ? "" : ` (${durationText(seconds)})`}`;
  const busy =
    seconds === null || seconds === 0
      ? ""
      : `, ${(totalMilliseconds / 1000 / seconds).toFixed(2)} sessions busy on average`;
  return [
    `${line(database)}: statements by ${by}${counted}; ${durationText(totalMilliseconds / 1000)} of all statements${busy}`,
    "",
    ...(statements.length === 0
      ? ["No statement of that kind has been counted."]
      : [
          table(
            ["total", "share", "calls", "mean", "max", "rows/call", "hit", "read", "statement"],
            statements.map((one) => [
              durationText(one.totalMilliseconds / 1000),
              `${one.sharePercent} %`,
              one.calls,
              milliseconds(one.meanMilliseconds),
              milliseconds(one.maxMilliseconds),
              Math.round((10 * one.rows) / one.calls) / 10,
              hitText(one),
              bytesText(one.blocksRead * 8192),
              statementText(one),
            ]),
          ),
        ]),
    ...(load.length === 0
      ? []
      : [
          "",
          "Load, by the statements that collect-history keeps:",
          table(
            ["day", "busy sessions", "calls"],
            load.map(({ day, busySessions, calls }) => [day, busySessions, calls]),
          ),
        ]),
    ...notes.map((note) => `Note: ${line(note)}`),
  ];
}

/** What happened, in lines that can be read one after the other. */
export function describeInterval({
  at,
  callsPerSecond,
  busySessions,
  statements,
  seconds,
}: Interval): string[] {
  return [
    `${at} ${callsPerSecond} calls/s, ${busySessions} sessions busy, ${countText(statements.length, "statement")} shown`,
    ...statements.map(
      (one) =>
        `  ${(one.calls / Math.max(0.001, seconds)).toFixed(1)}/s ${milliseconds(one.meanMilliseconds)} ${one.sharePercent} %  ${statementText(one)}`,
    ),
  ];
}

function hitText({ blocksHit, blocksRead }: TopStatement): string {
  const all = blocksHit + blocksRead;
  return all === 0 ? "-" : `${Math.round((100 * blocksHit) / all)} %`;
}

function milliseconds(value: number): string {
  return value < 1_000 ? `${Math.round(value * 100) / 100} ms` : durationText(value / 1000);
}

function statementText({ statement, origin }: TopStatement): string {
  const characters = [...line(statement)];
  const cut = characters.length <= 100 ? characters.join("") : `${characters.slice(0, 99).join("")}…`;
  return origin === undefined ? cut : `${cut}  [${line(origin)}]`;
}

/** Names and statements may hold what would move a terminal's cursor. */
function line(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}]+/gu, " ");
}
