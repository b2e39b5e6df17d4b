import { identifier, qualified } from "../../postgres/identifiers.ts";
import type { Fix } from "../review-check.ts";
import type { IndexCatalogue } from "./catalogue.ts";
import type { TableEntry, Tables } from "./tables.ts";

/** NAMEDATALEN − 1. */
const longestNameBytes = 63;

/** Names of new relations that nothing has yet; each is given once. */
export class FreeNames {
  private readonly taken: Set<string>;

  constructor(catalogue: IndexCatalogue, tables: Tables) {
    this.taken = new Set([
      ...catalogue.indexes.map((one) => qualified(one.schema, one.index)),
      ...tables.all.map((one) => qualified(one.schema, one.table)),
    ]);
  }

  /** `orders_customer_id_idx`, cut as PostgreSQL would, with a number when that is taken. */
  give(schema: string, table: string, columns: readonly string[]): string {
    for (let number = 0; ; number++) {
      const end = `_idx${number === 0 ? "" : number}`;
      const name = cutName(`${table}_${columns.join("_")}`, end);
      const full = qualified(schema, name);
      if (this.taken.has(full)) continue;
      this.taken.add(full);
      return name;
    }
  }
}

/** A name with this end that PostgreSQL keeps as it is: cut by whole characters before the end. */
export function cutName(text: string, end: string): string {
  let short = text;
  while (Buffer.byteLength(short) + end.length > longestNameBytes) short = [...short].slice(0, -1).join("");
  return `${short}${end}`;
}

export interface Creation {
  sql: string;
  lock: string;
  rollback: string;
  fix: Omit<Fix, "proof">;
}

/**
 * Statements that make an index without keeping writes waiting: concurrently, of a partitioned table part by part.
 * @param body what follows the table's name, e.g. `("a") WHERE "a" IS NOT NULL`
 */
export function creationOf(
  table: TableEntry,
  columns: readonly string[],
  body: string,
  names: FreeNames,
  tables: Tables,
): Creation {
  const up: string[] = [];
  const name = build(table);
  const isPartitioned = table.kind === "p";
  const down = [`DROP INDEX ${isPartitioned ? "" : "CONCURRENTLY "}${name};`];
  return {
    sql: up.join("\n"),
    lock: isPartitioned
      ? "SHARE on the partitioned table for a moment, then SHARE UPDATE EXCLUSIVE on one partition after the other"
      : "SHARE UPDATE EXCLUSIVE on the table",
    rollback: down.join("\n"),
    fix: { up, down },
  };

  function build(one: TableEntry): string {
    const index = names.give(one.schema, one.table, columns);
    const full = qualified(one.schema, index);
    const on = qualified(one.schema, one.table);
    // An index is made in its table's schema: its name stands alone.
    const bare = identifier(index);
    if (one.kind !== "p") {
      up.push(`CREATE INDEX CONCURRENTLY ${bare} ON ${on} ${body};`);
      return full;
    }
    up.push(`CREATE INDEX ${bare} ON ONLY ${on} ${body};`);
    for (const part of tables.all.filter((other) => other.parent === one.oid)) {
      const of = build(part);
      up.push(`ALTER INDEX ${full} ATTACH PARTITION ${of};`);
    }
    return full;
  }
}
