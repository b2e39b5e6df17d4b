import { identifier, literal, qualified } from "../../postgres/identifiers.ts";
import type { Fix, ReviewContext } from "../review-check.ts";
import { readStoredDefinitions } from "../stored-definitions.ts";
import { type IndexCatalogue, type IndexEntry, treeOf } from "./catalogue.ts";

/** Its definition as a statement that lets writes go on. */
export function concurrently(definition: string): string {
  return `${definition.replace(/^CREATE (UNIQUE )?INDEX /, "CREATE $1INDEX CONCURRENTLY ")};`;
}

/** How an index is dropped, and what makes it again. */
export interface Dropping {
  sql: string;
  lock: string;
  rollback: string;
  /** Absent when its definition could not be read because the table is locked. */
  fix?: Omit<Fix, "proof">;
}

/** How each of these indexes is dropped. One query for all definitions. */
export async function readDroppings(
  context: ReviewContext,
  catalogue: IndexCatalogue,
  indexes: readonly IndexEntry[],
): Promise<Map<number, Dropping>> {
  const trees = new Map(indexes.map((one) => [one.oid, treeOf(one, catalogue)]));
  const definitions = await readStoredDefinitions(
    context.session,
    "index",
    [...trees.values()].flat().map((one) => one.oid),
  );
  return new Map(
    indexes.map((index) => [index.oid, droppingOf(index, trees.get(index.oid) ?? [], definitions)]),
  );
}

function droppingOf(
  index: IndexEntry,
  tree: readonly IndexEntry[],
  definitions: ReadonlyMap<number, string>,
): Dropping {
  const name = qualified(index.schema, index.index);
  const sql = `DROP INDEX ${index.isPartitioned ? "" : "CONCURRENTLY "}${name};`;
  const lock = index.isPartitioned
    ? "ACCESS EXCLUSIVE on the partitioned table and its partitions, for a moment"
    : "SHARE UPDATE EXCLUSIVE on the table";
  const down: string[] = [];
  const names = new Map(tree.map((one) => [one.oid, qualified(one.schema, one.index)]));
  for (const part of tree) {
    const definition = definitions.get(part.oid);
    if (definition === undefined) {
      return {
        sql,
        lock,
        rollback: `the statement of SELECT pg_get_indexdef(${literal(name)}::regclass) from before: it could not be read now, as the table is locked or too many were asked for`,
      };
    }
    // PostgreSQL writes the index of a partitioned table with ON ONLY, which makes no parts: they are attached.
    down.push(part.isPartitioned ? `${definition};` : concurrently(definition));
    if (part.oid !== index.oid) {
      down.push(
        `ALTER INDEX ${names.get(part.parent ?? 0) ?? name} ATTACH PARTITION ${names.get(part.oid) ?? identifier(part.index)};`,
      );
    }
  }
  return { sql, lock, rollback: down.join("\n"), fix: { up: [sql], down } };
}
