import type { Environment } from "../environment.ts";
import { PgkeepError } from "../errors.ts";
import { describeGrowth } from "../history/describe-growth.ts";
import { type TableGrowth, tableGrowth } from "../history/growth.ts";
import { type DaySample, readDays, readTableHistory, type TableHistory } from "../history/read.ts";
import { parseTableName } from "../maintenance/table-name.ts";
import type { Session } from "../ports/databases.ts";
import type { GlobalOptions, Register } from "./cli.ts";
import { wholeNumber } from "./options.ts";

interface HistoryOptions extends GlobalOptions {
  table?: string;
  days: number;
  limit: number;
}

/** What `--json` prints. */
export interface HistoryDocument {
  days: DaySample[];
  /** Largest growth first; all of them. */
  tables: TableGrowth[];
  /** Day by day, with `--table`: the table, its partitions, and earlier tables of that name. */
  history?: TableHistory[];
}

/** `pgkeep history`: sizes and growth, by what collect-history has noted. Reads only. */
export const registerHistory: Register = (program, cli) => {
  program
    .command("history")
    .summary("how large the database and its tables were, and what grows")
    .description(
      "Sizes and growth of the database, its tables and indexes, by what collect-history has noted each day. Reads only.",
    )
    .option("--table <schema.table>", "one table with its indexes, day by day")
    .option("--days <number>", "how far back", wholeNumber(1, 3_660), 30)
    .option("--limit <number>", "tables shown; --json has all", wholeNumber(1, 10_000), 20)
    .action(async (_: unknown, command) => {
      const options = command.optsWithGlobals() as HistoryOptions;
      const document = await withMonitoring(await cli.open(options), cli.signal, (session) =>
        history(session, options),
      );
      if (options.json === true) cli.json(document);
      else cli.out(describeGrowth(document, options.limit, cli.table).join("\n"));
      if (document.days.length === 0) cli.setExitCode(3);
    });
};

/** @throws PgkeepError `not-found` for a table that no day has seen, `not-installed`, `insufficient-privilege` */
export async function history(
  session: Session,
  wanted: { table?: string; days: number },
): Promise<HistoryDocument> {
  const names = wanted.table === undefined ? undefined : [parseTableName(wanted.table)];
  const all = await readDays(session);
  const newest = all.at(-1);
  if (newest === undefined) return { days: [], tables: [] };
  const days = all.filter(({ at }) => at >= newest.at - wanted.days - 0.5);
  const scope = {
    sinceDay: days[0]?.day ?? newest.day,
    ...(names === undefined ? {} : { names }),
  };
  const tables = await tableGrowth(session, scope);
  if (names === undefined) return { days, tables };
  const history = await readTableHistory(session, scope);
  if (history.length === 0) {
    throw new PgkeepError("not-found", `collect-history has not seen a table ${wanted.table} in these days`, {
      remedy: "look at the names in `pgkeep history`; a new table is there after the next run",
    });
  }
  return { days, tables, history };
}

/** @throws PgkeepError `refused` where there is no database */
export async function withMonitoring<T>(
  environment: Environment,
  signal: AbortSignal,
  body: (session: Session) => Promise<T>,
): Promise<T> {
  try {
    const { primary } = environment.ports;
    if (primary === undefined) {
      throw new PgkeepError("refused", `${environment.description} has no database to ask`, {
        remedy: "give --url postgres://…",
      });
    }
    const session = await primary.connect({ role: "monitoring", signal });
    try {
      return await body(session);
    } finally {
      await session.close();
    }
  } finally {
    await environment.close();
  }
}
