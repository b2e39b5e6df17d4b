import type { Alarm } from "../../alarms/alarm.ts";
import type { LookFinding } from "../../alarms/page/look.ts";
import type { JobConfig } from "../../config/schema.ts";
import type { Session } from "../../ports/databases.ts";
import type { Severity } from "../check.ts";

export interface LookContext {
  session: Session;
  config: JobConfig;
  alarm: Pick<Alarm, "entry" | "subject">;
}

/** A finding of a look, with how much it explains: the lowest is told first. */
export interface Clue extends LookFinding {
  rank: number;
}

/** What is bad explains more than what is only there; 0 is left for what explains a bad finding beside it. */
export function rankOf(severity: Severity): number {
  return { critical: 1, high: 1, medium: 2, low: 3 }[severity];
}

/** What a look saw; `unseen` says why something could not be seen. */
export interface Seen {
  clues: Clue[];
  unseen?: string;
}

/** A few quick questions to the server's views. None waits for a lock or reads a table of the application. */
export type ShortLook = (context: LookContext) => Promise<Seen>;

/** How long counters are watched that say nothing without a difference. */
const windowSeconds = 0.7;

/** What happens now: the rows before and after a moment, by key. */
export async function watchFor<Row>(
  session: Session,
  read: () => Promise<Row[]>,
  keyOf: (row: Row) => string,
): Promise<{ row: Row; before: Row | undefined }[]> {
  const before = new Map((await read()).map((row) => [keyOf(row), row]));
  await session.query("select pg_sleep($1::float8)", [windowSeconds]);
  return (await read()).map((row) => ({ row, before: before.get(keyOf(row)) }));
}

/** `shop.orders`, quoted where it must be, as people write it. */
export function tableName(schema: string, table: string): string {
  const part = (name: string) => (/^[a-z_][a-z0-9_$]*$/.test(name) ? name : JSON.stringify(name));
  return `${part(schema)}.${part(table)}`;
}
