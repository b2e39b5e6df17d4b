import { PgkeepError } from "../errors.ts";
import type { Session } from "../ports/databases.ts";
import { collectDay } from "./collect-day.ts";
import { collectStatements, type StatementsCollected } from "./collect-statements.ts";
import { collectTablesQuery } from "./collect-tables.ts";
import { type Positions, readKeyPositions } from "./key-positions.ts";
import { type Pruned, prune } from "./prune.ts";

export interface CollectRequest {
  session: Session;
  /** Days that are kept. */
  keepDays: number;
  keepStatementSnapshots: number;
  /** Statements in one snapshot. */
  statements: number;
  /** Takes literals out of a statement's text. */
  mask(statement: string): string;
  /** Everything is done and then rolled back. */
  dryRun: boolean;
}

export interface Collected {
  /** By the server's clock, UTC: `2026-01-31`. */
  day: string;
  /** True when there already was something of that day: it was replaced. */
  again: boolean;
  databaseBytes: number;
  sizeBasis: "files" | "estimate";
  tables: number;
  /** Tables that nobody has vacuumed or analysed yet: their size is unknown. */
  tablesUnmeasured: number;
  /** Tables whose values differ from the day before: what this day takes. */
  tablesChanged: number;
  tablesAdded: number;
  tablesGone: number;
  keyColumns: number;
  statements: StatementsCollected;
  pruned: Pruned;
  /** What could not be seen, and odd things, in words. */
  notes: string[];
}

/**
 * Notes what the database is like today: one row for the day, one for each table that changed, the top statements.
 * All of it is committed together. A second run of the same day replaces the first.
 * @throws PgkeepError `read-only` on a standby, and whatever the server rejects
 */
export async function collectHistory(request: CollectRequest): Promise<Collected> {
  const { session } = request;
  if (session.isStandby) {
    throw new PgkeepError("read-only", `${session.database}: a standby keeps no history of its own`, {
      remedy: "run collect-history against the primary; its standbys follow",
    });
  }
  const [before] = await session.query<{ jit: string; memory: string }>(
    "select current_setting('jit') as jit, current_setting('work_mem') as memory",
  );
  // Compiling takes longer than any of the statements, and so does writing what is compared to disk.
  await session.query(setForRun, ["off", `${workMegabytes}MB`]);
  try {
    return await collectIn(request);
  } finally {
    await session
      .query(setForRun, [before?.jit ?? "on", before?.memory ?? "4MB"])
      // The connection is lost, or the run was aborted: the error above says so.
      .catch(() => {});
  }
}

const setForRun = "select set_config('jit', $1, false), set_config('work_mem', $2, false)";

/** What is known of 10,000 tables takes about 6 MB. */
const workMegabytes = 32;

async function collectIn(request: CollectRequest): Promise<Collected> {
  const { session } = request;
  // Before the transaction, so that no sequence stays locked during it.
  const keys = await readKeyPositions(session);
  const notes = [...keys.notes];
  const write = async (): Promise<Collected> => {
    const day = await collectDay(session);
    if (day.futureDays > 0) {
      notes.push(
        `${day.futureDays} later days were removed: the server's clock is behind what it was before`,
      );
    }
    if (day.otherDatabase) notes.push("the tables noted before were another database's: they count as gone");
    const tables = await collectTables(session, day.day, keys.values);
    const statements = await collectStatements(session, day.day, request);
    if (statements.reason !== undefined) notes.push(`no statements: ${statements.reason}`);
    notes.push(...statements.notes);
    const pruned = await prune(session, request);
    return {
      day: day.day,
      again: day.again,
      databaseBytes: day.databaseBytes,
      sizeBasis: day.sizeBasis,
      ...tables,
      keyColumns: keys.columns,
      statements,
      pruned,
      notes,
    };
  };
  let collected: Collected | undefined;
  try {
    await session.transaction(async () => {
      collected = await write();
      if (request.dryRun) throw new RollBack();
    });
  } catch (error) {
    if (!(error instanceof RollBack)) throw error;
  }
  if (collected === undefined) throw new PgkeepError("internal", "the history was written and says nothing");
  return collected;
}

/** Ends a dry run. */
class RollBack extends Error {}

async function collectTables(
  session: Session,
  day: string,
  keys: Positions["values"],
): Promise<Pick<Collected, "tables" | "tablesUnmeasured" | "tablesChanged" | "tablesAdded" | "tablesGone">> {
  const [row] = await session.query<{
    tables: number;
    unmeasured: number;
    changed: number;
    added: number;
    gone: number;
  }>(collectTablesQuery, [
    day,
    keys.map((key) => key.tableOid),
    keys.map((key) => key.number),
    keys.map((key) => key.position),
  ]);
  if (row === undefined) throw new PgkeepError("internal", "the tables were noted and say nothing");
  return {
    tables: row.tables,
    tablesUnmeasured: row.unmeasured,
    tablesChanged: row.changed,
    tablesAdded: row.added,
    tablesGone: row.gone,
  };
}
