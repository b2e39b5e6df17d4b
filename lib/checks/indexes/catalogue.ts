import { majorOf } from "../../postgres/versions.ts";
import type { ReviewContext } from "../review-check.ts";
import { userRelation } from "../user-objects.ts";
import { elementsOf, normalTree } from "./node-tree.ts";

/** One index as the catalog and its counters have it. */
export interface IndexEntry {
  oid: number;
  schema: string;
  index: string;
  tableOid: number;
  table: string;
  /** `btree`, `gin` … */
  method: string;
  /** It stands for indexes of partitions, and has no pages of its own. */
  isPartitioned: boolean;
  /** The index of the partitioned table that it is a part of. */
  parent: number | null;
  isUnique: boolean;
  nullsNotDistinct: boolean;
  /** Valid, ready for writes and not being dropped. */
  isUsable: boolean;
  /** Of a primary key, a unique or an exclusion constraint. */
  backsConstraint: boolean;
  /** Foreign keys rely on its uniqueness. */
  isReferenced: boolean;
  isReplicaIdentity: boolean;
  isClustered: boolean;
  /** Key columns: number, operator class, collation, direction; an expression has number 0 and its tree. */
  keys: readonly IndexKey[];
  /** Numbers of the INCLUDE columns. */
  included: readonly number[];
  /** Normalised tree, null for an index of all rows. */
  predicate: string | null;
  /** Of this index and all its parts, as of their last VACUUM, ANALYZE or build. */
  pages: number;
  /** Of this index and all its parts. */
  scans: number;
  /** PostgreSQL 16 and newer. */
  lastScanAt: Date | null;
}

export interface IndexKey {
  column: number;
  operatorClass: number;
  collation: number;
  /** Bit 0: descending; bit 1: nulls first (`indoption`). */
  options: number;
  expression: string | null;
}

interface Row extends Omit<IndexEntry, "keys" | "included" | "predicate"> {
  columns: string;
  keyCount: number;
  operatorClasses: string;
  collations: string;
  options: string;
  expressions: string | null;
  predicate: string | null;
}

export interface IndexCatalogue {
  /** All indexes of the user's tables and materialised views, those of partitions too. */
  indexes: readonly IndexEntry[];
  byOid: ReadonlyMap<number, IndexEntry>;
  byTable: ReadonlyMap<number, readonly IndexEntry[]>;
}

/** Every index of the database, read once for all checks. One query, no locks on relations. */
export function readIndexCatalogue(context: ReviewContext): Promise<IndexCatalogue> {
  return context.once("index-catalogue", async () => {
    const { session } = context;
    const major = majorOf(session.serverVersionNumber);
    const rows = await session.query<Row>(
      `select x.indexrelid::int8 as oid, n.nspname::text as schema, i.relname::text as index,
              x.indrelid::int8 as "tableOid", t.relname::text as table, am.amname::text as method,
              i.relkind = 'I' as "isPartitioned", h.inhparent::int8 as parent,
              x.indisunique as "isUnique", ${major >= 15 ? "x.indnullsnotdistinct" : "false"} as "nullsNotDistinct",
              x.indisvalid and x.indisready and x.indislive as "isUsable",
              coalesce(k.backs, false) as "backsConstraint", coalesce(k.referenced, false) as "isReferenced",
              x.indisreplident as "isReplicaIdentity", x.indisclustered as "isClustered",
              x.indkey::text as columns, x.indnkeyatts::int as "keyCount", x.indclass::text as "operatorClasses",
              x.indcollation::text as collations, x.indoption::text as options,
              x.indexprs::text as expressions, x.indpred::text as predicate,
              greatest(i.relpages, 0)::int8 as pages, pg_stat_get_numscans(x.indexrelid)::int8 as scans,
              ${major >= 16 ? "pg_stat_get_lastscan(x.indexrelid)" : "null::timestamptz"} as "lastScanAt"
         from pg_index x
         join pg_class i on i.oid = x.indexrelid
         join pg_am am on am.oid = i.relam
         join pg_class t on t.oid = x.indrelid
         join pg_namespace n on n.oid = t.relnamespace
         left join pg_inherits h on h.inhrelid = x.indexrelid
         left join (select conindid, bool_or(contype in ('p', 'u', 'x')) as backs, bool_or(contype = 'f') as referenced
                      from pg_constraint where conindid <> 0 group by conindid) k on k.conindid = x.indexrelid
        where ${userRelation("t", "n")}`,
    );
    const shared = new Shared();
    const indexes = rows.map((row) => entryOf(row, shared));
    const byOid = new Map(indexes.map((one) => [one.oid, one]));
    const byTable = new Map<number, IndexEntry[]>();
    for (const one of indexes) {
      const known = byTable.get(one.tableOid);
      if (known === undefined) byTable.set(one.tableOid, [one]);
      else known.push(one);
    }
    addUp(indexes, byOid);
    return { indexes, byOid, byTable };
  });
}

function numbers(vector: string): number[] {
  return vector === "" ? [] : vector.split(" ").map(Number);
}

/**
 * Tens of thousands of them are kept while the checks are asked: what many have alike (names of schemas and tables,
 * key columns of one kind) is kept once, and nothing of the row is held on to.
 */
function entryOf(row: Row, shared: Shared): IndexEntry {
  return {
    oid: row.oid,
    schema: shared.text(row.schema),
    index: row.index,
    tableOid: row.tableOid,
    table: shared.text(row.table),
    method: shared.text(row.method),
    isPartitioned: row.isPartitioned,
    parent: row.parent,
    isUnique: row.isUnique,
    nullsNotDistinct: row.nullsNotDistinct,
    isUsable: row.isUsable,
    backsConstraint: row.backsConstraint,
    isReferenced: row.isReferenced,
    isReplicaIdentity: row.isReplicaIdentity,
    isClustered: row.isClustered,
    ...shared.columns(row),
    predicate: row.predicate === null ? null : normalTree(row.predicate),
    pages: row.pages,
    scans: row.scans,
    lastScanAt: row.lastScanAt,
  };
}

type Columns = Pick<IndexEntry, "keys" | "included">;

class Shared {
  private readonly texts = new Map<string, string>();
  private readonly kinds = new Map<string, Columns>();

  text(value: string): string {
    const known = this.texts.get(value);
    if (known !== undefined) return known;
    this.texts.set(value, value);
    return value;
  }

  columns(row: Row): Columns {
    if (row.expressions !== null) return columnsOf(row);
    const kind = `${row.keyCount}/${row.columns}/${row.operatorClasses}/${row.collations}/${row.options}`;
    const known = this.kinds.get(kind);
    if (known !== undefined) return known;
    const columns = columnsOf(row);
    this.kinds.set(kind, columns);
    return columns;
  }
}

function columnsOf({ columns, keyCount, operatorClasses, collations, options, expressions }: Row): Columns {
  const numbered = numbers(columns);
  const classes = numbers(operatorClasses);
  const rules = numbers(collations);
  const directions = numbers(options);
  const trees = expressions === null ? [] : elementsOf(normalTree(expressions));
  const keys = numbered.slice(0, keyCount).map((column, at) => ({
    column,
    operatorClass: classes[at] ?? 0,
    collation: rules[at] ?? 0,
    options: directions[at] ?? 0,
    expression: column === 0 ? (trees.shift() ?? "") : null,
  }));
  return { keys, included: numbered.slice(keyCount) };
}

/** What the parts of a partitioned index have, it has. */
function addUp(indexes: readonly IndexEntry[], byOid: ReadonlyMap<number, IndexEntry>): void {
  for (const leaf of indexes) {
    if (leaf.isPartitioned) continue;
    const seen = new Set<number>();
    for (let up = leaf.parent; up !== null && !seen.has(up); ) {
      seen.add(up);
      const whole = byOid.get(up);
      if (whole === undefined) break;
      whole.pages += leaf.pages;
      whole.scans += leaf.scans;
      if (leaf.lastScanAt !== null && (whole.lastScanAt === null || leaf.lastScanAt > whole.lastScanAt)) {
        whole.lastScanAt = leaf.lastScanAt;
      }
      up = whole.parent;
    }
  }
}

/** Whether something other than the speed of queries depends on it. */
export function isIndispensable(index: IndexEntry): boolean {
  return index.backsConstraint || index.isReferenced || index.isReplicaIdentity || index.isClustered;
}

/** The indexes that it is made of, itself included; parents before parts. */
export function treeOf(index: IndexEntry, { indexes }: IndexCatalogue): IndexEntry[] {
  const found = [index];
  if (!index.isPartitioned) return found;
  const wanted = new Set([index.oid]);
  // Parts of parts need another turn; trees are shallow.
  for (let grown = true; grown; ) {
    grown = false;
    for (const one of indexes) {
      if (one.parent === null || !wanted.has(one.parent) || wanted.has(one.oid)) continue;
      wanted.add(one.oid);
      found.push(one);
      grown = true;
    }
  }
  return found;
}
