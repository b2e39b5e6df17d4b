import type { Parsed } from "./common.ts";
import { type Condition, conditionsOf, resolveColumn } from "./resolve.ts";
import { type Column, rowsOf, type Table, type Tables } from "./tables.ts";

/** Beyond, a column more costs more than it narrows. */
const mostColumns = 4;
const mostEqualities = 3;
/** A value that has no more rows than this is found by one column. */
const fewRows = 100;
/** A B-tree entry must fit a third of a page; far below that the index is as large as the table. */
const widestBytes = 255;
/** Types without an order, or whose order nobody searches by. */
const unsearchable =
  /^(?:json|jsonb|xml|point|line|lseg|box|path|polygon|circle|tsvector|tsquery|bytea|xid|cid|tid|hstore|geometry|geography|vector)$|\[\]$/;

const equalities = new Set(["=", "in", "any", "is null"]);
const ranges = new Set(["<", ">", "<=", ">=", "between"]);

/** Columns of one table that a statement would be served by in an index, in their order there. */
export interface Candidate {
  columns: Column[];
  descending: boolean[];
}

/** What one statement asks of one table. */
export interface Need {
  table: Table;
  /** All conditions that an index could serve. */
  conditions: Condition[];
  candidates: Candidate[];
}

/** For each table of some size that a statement reads by conditions or in an order: which indexes might serve it. */
export function needsOf({ facts }: Parsed, tables: Tables, smallestRows: number): Need[] {
  const byPlace = new Map<string, Condition[]>();
  for (const condition of conditionsOf(facts, tables)) {
    const { predicate, table, column, alias, scope } = condition;
    if (table.entry === undefined || rowsOf(table) < smallestRows || !isSearchable(column)) continue;
    if (predicate.wrap !== undefined || predicate.other === "expression") continue;
    if (!equalities.has(predicate.operator) && !ranges.has(predicate.operator)) continue;
    const place = JSON.stringify([facts.scopes.indexOf(scope), alias]);
    byPlace.set(place, [...(byPlace.get(place) ?? []), condition]);
  }
  const needs: Need[] = [];
  for (const conditions of byPlace.values()) {
    const [first] = conditions;
    if (first === undefined) continue;
    const { table } = first;
    const order = orderOf(first, facts, tables);
    const isConstant = ({ predicate }: Condition) => predicate.other !== "column";
    // A join's column is given only where the other table is read first: both ways are tried.
    const sets = [conditions, conditions.filter(isConstant)];
    const candidates = sets.flatMap((some) => candidatesOf(table, some, order));
    if (candidates.length > 0) needs.push({ table, conditions, candidates: distinct(candidates) });
  }
  return needs;
}

function isSearchable(column: Column): boolean {
  return !unsearchable.test(column.type) && (column.width ?? 0) <= widestBytes;
}

interface Order {
  columns: Column[];
  descending: boolean[];
}

function orderOf(condition: Condition, facts: Parsed["facts"], tables: Tables): Order | undefined {
  const { scope, table, alias } = condition;
  const { orderBy, limit, orderByMore, grouped, distinct: isDistinct } = scope;
  if (!limit || orderByMore || grouped || isDistinct || orderBy.length === 0) return undefined;
  const columns: Column[] = [];
  for (const { column, descending, nullsFirst } of orderBy) {
    const resolved = resolveColumn(facts, scope, tables, column);
    if (resolved?.table !== table || resolved.alias !== alias || !isSearchable(resolved.column))
      return undefined;
    if (nullsFirst !== null && nullsFirst !== descending) return undefined;
    columns.push(resolved.column);
  }
  return { columns, descending: orderBy.map(({ descending }) => descending) };
}

function candidatesOf(table: Table, conditions: readonly Condition[], order: Order | undefined): Candidate[] {
  const equal = unique(
    conditions.filter(({ predicate }) => equalities.has(predicate.operator)).map(({ column }) => column),
  )
    .sort((a, b) => distinctRows(b, table) - distinctRows(a, table) || a.number - b.number)
    .slice(0, mostEqualities);
  const ranged = unique(
    conditions.filter(({ predicate }) => ranges.has(predicate.operator)).map(({ column }) => column),
  ).filter((column) => !equal.includes(column));
  const [range] = ranged.sort(
    (a, b) => distinctRows(b, table) - distinctRows(a, table) || a.number - b.number,
  );
  const [best] = equal;
  const isNarrow = best !== undefined && distinctRows(best, table) * fewRows >= rowsOf(table);
  const made: Candidate[] = [];
  const add = (columns: readonly Column[], descending: readonly boolean[] = []) => {
    const few = unique(columns).slice(0, mostColumns);
    if (few.length > 0) made.push({ columns: few, descending: few.map((_, at) => descending[at] ?? false) });
  };
  if (best !== undefined) add([best]);
  // So few rows are filtered and sorted at once: a second column would only make the index larger.
  if (isNarrow) return made.filter((candidate) => !isServed(table, candidate));
  add(equal);
  if (range !== undefined) add([...equal, range]);
  if (order?.columns.every((column) => !equal.includes(column))) {
    // A B-tree is read in both directions: all one way needs no direction.
    const mixed = new Set(order.descending).size > 1;
    add([...equal, ...order.columns], [...equal.map(() => false), ...(mixed ? order.descending : [])]);
  }
  return made.filter((candidate) => !isServed(table, candidate));
}

/** How many different values, as far as anybody knows. */
export function distinctRows({ distinct: count }: Column, table: Table): number {
  if (count === null) return 0;
  return count >= 0 ? count : -count * rowsOf(table);
}

/** An index that is there finds the same rows: the candidate's columns lead it. */
function isServed(table: Table, { columns }: Candidate): boolean {
  return table.indexes.some(
    (index) =>
      index.isUsable &&
      index.method === "btree" &&
      index.predicate === null &&
      columns.every((column, at) => index.keys[at]?.column === column.number),
  );
}

function unique(columns: readonly Column[]): Column[] {
  return [...new Set(columns)];
}

function distinct(candidates: readonly Candidate[]): Candidate[] {
  const seen = new Map(candidates.map((one) => [nameOfCandidate(one), one]));
  return [...seen.values()];
}

export function nameOfCandidate({ columns, descending }: Candidate): string {
  return JSON.stringify(columns.map(({ number }, at) => [number, descending[at] ?? false]));
}
