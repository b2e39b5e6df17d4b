import { pipeline } from "node:stream/promises";
import type { Session } from "../ports/databases.ts";
import { identifier, qualified } from "../postgres/identifiers.ts";
import type { Column, TableName, TableShape } from "./shape.ts";

/** Rows as one server sees them. */
export interface Contents {
  rows: number;
  /** Sum of the hashes of all rows, whatever their order: equal for equal rows. */
  hash: string;
}

/** Both sides write values the same way, so that they can be read and compared; as pg_dump sets them. */
const settings = `set local row_security = off; set local "DateStyle" = 'ISO, YMD'; set local "IntervalStyle" = 'postgres';
  set local "TimeZone" = 'UTC'; set local extra_float_digits = 3; set local bytea_output = 'hex';
  set local lc_monetary = 'C'; set local xmloption = 'content'; set local quote_all_identifiers = off;
  set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0`;

/** Settings of the running transaction. `names`: schemas in which names without one are looked up. */
export async function prepareTransaction(session: Session, names: readonly string[] = []): Promise<void> {
  await session.query(settings);
  if (names.length > 0) await session.query(`set local search_path = ${names.map(identifier).join(", ")}`);
}

/** The rows to take, as the end of a SELECT. The line break ends a comment at the end of the condition. */
export function rowsOf(then: TableShape, where: string | undefined): string {
  const from = `from ${then.partitioned ? "" : "only "}${qualified(then.schema, then.name)}`;
  return where === undefined ? from : `${from} where (${where}\n)`;
}

/**
 * Whether the condition is one boolean expression: with a parameter the server takes a single statement only,
 * so nothing can be hidden behind it.
 */
export async function checkCondition(restored: Session, then: TableShape, where: string): Promise<void> {
  await restored.query(`select ${rowsOf(then, where)} and $1 limit 0`, [true]);
}

/** @param from what follows SELECT's columns */
export async function readContents(
  session: Session,
  columns: readonly Column[],
  from: string,
): Promise<Contents> {
  const values = columns.map(({ name }) => identifier(name)).join(", ");
  const [row] = await session.query<{ rows: number; hash: string }>(
    `select count(*) as rows,
            coalesce(sum(hashtextextended(row(${values})::text collate "C", 0)::numeric), 0)::text as hash ${from}`,
  );
  return row ?? { rows: 0, hash: "0" };
}

/** Streams the rows from one server to the other; neither side holds more than a few blocks of them. */
export async function copyRows(
  restored: Session,
  columns: readonly Column[],
  from: string,
  target: Session,
  made: TableName,
): Promise<void> {
  const list = columns.map(({ name }) => identifier(name)).join(", ");
  // The database's own encoding: nothing is converted, and nothing can fail to convert.
  const [encoding] = await restored.query<{ name: string }>(
    "select pg_encoding_to_char(encoding)::text as name from pg_database where datname = current_database()",
  );
  const options = `(format text, encoding '${encoding?.name ?? "UTF8"}')`;
  await pipeline(
    restored.copyOut(`copy (select ${list} ${from}) to stdout with ${options}`),
    target.copyIn(`copy ${qualified(made.schema, made.name)} (${list}) from stdin with ${options}`),
  );
}
