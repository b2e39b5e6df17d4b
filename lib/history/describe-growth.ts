import { qualified } from "../postgres/identifiers.ts";
import { bytesText, countText } from "../words.ts";
import { line } from "./describe.ts";
import type { TableGrowth } from "./growth.ts";
import type { DaySample, TableHistory } from "./read.ts";

type TableText = (head: readonly string[], rows: readonly (readonly (string | number)[])[]) => string;

/** Sizes and growth as lines for people. */
export function describeGrowth(
  given: { days: readonly DaySample[]; tables: readonly TableGrowth[]; history?: readonly TableHistory[] },
  limit: number,
  table: TableText,
): string[] {
  const { days, tables, history } = given;
  const [first, last] = [days[0], days.at(-1)];
  if (first === undefined || last === undefined) {
    return ["There is no history yet: collect-history has not run here."];
  }
  if (history !== undefined) return tables.flatMap((one) => oneTable(one, history, table));
  return [
    `${countText(days.length, "day")} from ${first.day} to ${last.day}: ${bytesText(first.databaseBytes)} → ${bytesText(last.databaseBytes)}, ${countText(last.tables, "table")}` +
      (last.tablesUnmeasured > 0
        ? `, ${last.tablesUnmeasured} never vacuumed or analysed and so unknown`
        : ""),
    table(
      ["table", "size", "indexes", "rows", "grown", "a day", "confidence"],
      tables
        .slice(0, limit)
        .map((one) => [
          nameOf(one),
          sizeText(one.bytes),
          bytesText(one.indexBytes),
          one.rows === null ? "?" : Math.round(one.rows).toLocaleString("en"),
          sizeText(one.grownBytes),
          one.trend === null ? "" : bytesText(one.trend.perDay),
          one.trend === null ? "too little to tell" : one.trend.confidence,
        ]),
    ),
    ...(tables.length > limit ? [`and ${tables.length - limit} more`] : []),
  ];
}

function oneTable(one: TableGrowth, history: readonly TableHistory[], table: TableText): string[] {
  const own = history.filter(({ oid, rootOid }) => oid === one.oid || rootOid === one.oid);
  const samples = own.length === 1 ? (own[0]?.samples ?? []) : [];
  return [
    `${nameOf(one)}, ${one.fromDay} to ${one.toDay}: ${sizeText(one.bytes)}, grown by ${sizeText(one.grownBytes)}`,
    one.trend === null
      ? `Growth a day: not assessable: ${one.reason ?? ""}`
      : `Growth a day: ${bytesText(one.trend.perDay)} (${bytesText(one.trend.perDayLow)} to ${bytesText(one.trend.perDayHigh)}), ` +
        `${one.trend.samples} samples over ${one.trend.spanDays} days, confidence ${one.trend.confidence}`,
    `Rows: ${one.rowsInserted} inserted, ${one.rowsUpdated} updated, ${one.rowsDeleted} deleted` +
      (one.countersReset ? ", at least: the statistics were reset" : ""),
    ...(one.shrank === undefined
      ? []
      : [
          `Shrank on ${one.shrank.day}: ${bytesText(one.shrank.fromBytes)} → ${bytesText(one.shrank.toBytes)}`,
        ]),
    ...(one.indexes.length === 0
      ? []
      : [
          table(
            ["index", "size", "grown", "scans"],
            one.indexes.map((index) => [
              line(index.index),
              bytesText(index.bytes),
              bytesText(index.grownBytes),
              index.scans,
            ]),
          ),
        ]),
    ...(samples.length === 0
      ? []
      : [
          table(
            ["day", "size", "heap", "TOAST", "indexes", "rows", "dead"],
            samples.map((sample) => [
              sample.day,
              sizeText(sample.bytes),
              sizeText(sample.heapBytes),
              bytesText(sample.toastBytes),
              bytesText(sample.indexBytes),
              sample.rows === null ? "?" : Math.round(sample.rows),
              sample.deadRows,
            ]),
          ),
        ]),
  ];
}

const sizeText = (bytes: number | null) => (bytes === null ? "?" : bytesText(bytes));

function nameOf({ schema, table, partitions }: TableGrowth): string {
  const plain = /^[a-z_][a-z0-9_$]*$/;
  const name =
    plain.test(schema) && plain.test(table) ? `${schema}.${table}` : line(qualified(schema, table));
  return partitions === undefined ? name : `${name} (${countText(partitions, "partition")})`;
}
