import type { Holder } from "../maintenance/horizon.ts";
import { qualified } from "../postgres/identifiers.ts";
import { durationText } from "../words.ts";
import type { AutovacuumState } from "./autovacuum.ts";
import { alterStatements, parameterOf } from "./parameters.ts";
import type { TableEntry } from "./report.ts";

/** Storage parameters that a table should have, why, and how to go back. */
export type TableAdvice = TableEntry & {
  toast?: true;
  why: string[];
  sql: string[];
  rollback: string[];
  lock: string;
};

/**
 * From this size on a share of the table is many rows: the defaults (20 % for VACUUM, 10 % for ANALYZE) were made for
 * smaller ones. PostgreSQL's documentation, "Routine Vacuuming", and autovacuum_vacuum_max_threshold of 18 say the same.
 */
const largeRows = 1_000_000;
/** Of a large table, dead rows that may gather; and not fewer than `fewestDead`, nor so few that it is vacuumed all the time. */
const deadShare = 0.01;
const fewestDead = 50_000;
const shortestIntervalSeconds = 900;
/** Changed rows of a large table that may go unnoticed by the planner. */
const analyzeShare = 0.02;
/** Autovacuum is behind when so many times its trigger have gathered and its last vacuum is this long ago. */
const behindShare = 2;
const behindSeconds = 600;
const fasterCostLimit = 2_000;
/** An insert-only table is to be vacuumed this often, so that it is frozen bit by bit and scans can stay in its indexes. */
const insertIntervalDays = 7;
const fewestInserts = 100_000;
/** A small table that is vacuumed more often than this costs more than it gains. */
const busyPerDay = 720;
const busyRows = 100_000;
const calmSeconds = 300;
/** A holder that is older than this explains dead rows better than any parameter. */
const oldHolderSeconds = 600;
const daySeconds = 86_400;
const lock = "SHARE UPDATE EXCLUSIVE, for a moment: reads and writes go on";

interface Wish {
  why: string;
  parameters: Record<string, string | null>;
}

/** What to set for these tables, by their actual rates of change and the triggers that hold for them. Pure. */
export function adviceFor(
  states: readonly AutovacuumState[],
  holders: readonly Holder[],
  now: number,
): TableAdvice[] {
  const isHeld = holders.some(
    (holder) => holder.holds === "everything" && (holder.ageSeconds ?? Infinity) > oldHolderSeconds,
  );
  return states.flatMap((state) => {
    const wishes = [enabled(state), deadRows(state), inserts(state), analyzes(state), busy(state)];
    if (!isHeld) wishes.push(behind(state, now));
    const found = wishes.filter((wish) => wish !== undefined);
    if (found.length === 0) return [];
    const prefix = state.toast === true ? "toast." : "";
    const wanted: Record<string, string | null> = {};
    const earlier: Record<string, string | null> = {};
    for (const { parameters } of found) {
      for (const [name, value] of Object.entries(parameters)) {
        wanted[`${prefix}${name}`] = value;
        earlier[`${prefix}${name}`] = parameterOf(state.parameters, name);
      }
    }
    const table = qualified(state.schema, state.table);
    return [
      {
        schema: state.schema,
        table: state.table,
        ...(state.toast === true ? { toast: true as const } : {}),
        why: [
          ...found.map(({ why }) => why),
          ...(state.partition === true ? ["it is a partition: new ones need the same"] : []),
        ],
        sql: alterStatements(table, wanted),
        rollback: alterStatements(table, earlier),
        lock,
      },
    ];
  });
}

function enabled(state: AutovacuumState): Wish | undefined {
  if (state.autovacuumIsOn || state.toast === true) return undefined;
  return {
    why: "autovacuum is off for it: only its age, or pgkeep, ever calls for a vacuum",
    parameters: { autovacuum_enabled: null },
  };
}

function deadRows(state: AutovacuumState): Wish | undefined {
  const { rows, perDay, triggers } = state;
  const isChanged = (perDay.dead ?? 0) > 0 || state.deadRows > 0;
  if (rows < largeRows || !isChanged) return undefined;
  const notTooOften = ((perDay.dead ?? 0) / daySeconds) * shortestIntervalSeconds;
  const target = Math.max(fewestDead, deadShare * rows, notTooOften);
  if (target > 0.8 * triggers.dead) return undefined;
  return {
    why:
      `autovacuum waits for ${number(triggers.dead)} dead rows` +
      (perDay.dead === null || perDay.dead === 0
        ? ""
        : `, which takes ${every(triggers.dead, perDay.dead)} at ${number(perDay.dead)} a day`) +
      `: at ${number(target)} each vacuum is short and the table does not bloat`,
    parameters: { autovacuum_vacuum_scale_factor: factor(target / rows) },
  };
}

function inserts(state: AutovacuumState): Wish | undefined {
  const { rows, perDay, triggers } = state;
  if (rows < largeRows || triggers.inserted === null || !perDay.inserted) return undefined;
  // Where rows die as well, their vacuums do it.
  if ((perDay.dead ?? 0) * 10 > perDay.inserted) return undefined;
  const days = triggers.inserted / perDay.inserted;
  const target = Math.max(fewestInserts, perDay.inserted * (insertIntervalDays / 2));
  if (days <= insertIntervalDays || target > 0.8 * triggers.inserted) return undefined;
  return {
    why: `rows are only inserted, and autovacuum waits for ${number(triggers.inserted)} of them, ${every(
      triggers.inserted,
      perDay.inserted,
    )}: then it has much to freeze at once, and until then index-only scans read the table`,
    parameters: { autovacuum_vacuum_insert_scale_factor: factor(target / rows) },
  };
}

function analyzes(state: AutovacuumState): Wish | undefined {
  const { rows, perDay, triggers } = state;
  if (state.toast === true || rows < largeRows || !perDay.changed) return undefined;
  const target = Math.max(fewestDead, analyzeShare * rows);
  if (target > 0.8 * triggers.changed || triggers.changed / perDay.changed <= 1) return undefined;
  return {
    why: `the planner learns of changes after ${number(triggers.changed)} rows, ${every(triggers.changed, perDay.changed)}`,
    parameters: { autovacuum_analyze_scale_factor: factor(target / rows) },
  };
}

function behind(state: AutovacuumState, now: number): Wish | undefined {
  if (!state.autovacuumIsOn || state.share.dead < behindShare) return undefined;
  const ended = [state.lastVacuum, state.lastAutovacuum].map((at) => (at === null ? 0 : Date.parse(at)));
  if (now - Math.max(...ended) < behindSeconds * 1000 || state.deadRows < fewestDead) return undefined;
  const limit = Number(parameterOf(state.parameters, "autovacuum_vacuum_cost_limit") ?? 0);
  return {
    why: `autovacuum is behind: ${number(state.deadRows)} dead rows are ${Math.round(state.share.dead)} times its trigger`,
    parameters:
      limit >= fasterCostLimit
        ? { autovacuum_vacuum_cost_delay: "0" }
        : { autovacuum_vacuum_cost_limit: String(fasterCostLimit) },
  };
}

function busy(state: AutovacuumState): Wish | undefined {
  const { rows, perDay, triggers } = state;
  if (state.toast === true || rows > busyRows || (perDay.autovacuums ?? 0) < busyPerDay || !perDay.dead) {
    return undefined;
  }
  const target = Math.ceil((perDay.dead / daySeconds) * calmSeconds);
  if (target <= triggers.dead) return undefined;
  return {
    why: `autovacuum comes ${number(perDay.autovacuums ?? 0)} times a day to a table of ${number(rows)} rows`,
    parameters: { autovacuum_vacuum_threshold: String(target) },
  };
}

function every(rows: number, perDay: number): string {
  return `about ${durationText((rows / perDay) * daySeconds)}`;
}

function number(value: number): string {
  return Math.round(value).toLocaleString("en");
}

/** Two significant digits: nobody sets 0.013724. */
function factor(value: number): string {
  return String(Number(value.toPrecision(2)));
}
