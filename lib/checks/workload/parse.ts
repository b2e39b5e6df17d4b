import { loadModule, parseSync } from "libpg-query";
import { Walker } from "./walk.ts";

/** Name of a column as the statement gives it. */
export interface ColumnName {
  /** Alias or name of the table. */
  qualifier?: string;
  name: string;
}

/** What stands in a FROM clause, or is the target of UPDATE and DELETE. */
export interface Relation {
  /** What the rest of the statement calls it. */
  alias: string;
  /** A table or view by its name; absent for a subquery, function, list of values or name of a WITH query. */
  table?: { schema?: string; name: string };
  /** Byte at which the name begins in the text. */
  location: number;
}

/** Where a pattern's first character is known to be, as far as the text tells. */
export type Pattern = "leading-wildcard" | "fixed-start" | "unknown";

/** One condition on one column that all the others are AND-ed with. */
export interface Predicate {
  column: ColumnName;
  /** As PostgreSQL names it: `=`, `<`, `~~` (LIKE), `~~*` (ILIKE), `@>` …; or `in`, `any`, `between`, `is null`, `is not null`, `is true` (the bare column), `is false` (NOT column). */
  operator: string;
  /** What it is compared with: anything without a column is a `value`, because it is the same for each row. */
  other: "value" | "column" | "subquery" | "expression";
  otherColumn?: ColumnName;
  /** The type that the statement casts the value to. */
  otherType?: string;
  /** What stands around the column. */
  wrap?: { kind: "function" | "cast" | "operator" | "json"; name: string; alone: boolean };
  pattern?: Pattern;
  /** True when it is a condition of an outer join, which keeps the rows that do not meet it. */
  outer: boolean;
}

/** One level of a query. */
export interface Scope {
  /** Index of the level around it; null for the statement itself, -1 for what stands in its WITH. */
  parent: number | null;
  /** What it does there: its rows are the statement's own, or used by something else. */
  role: "result" | "source" | "test";
  relations: Relation[];
  predicates: Predicate[];
  /** For each condition and join: the aliases that it ties together. */
  links: string[][];
  /** Unqualified columns of the conditions, which may tie any tables together. */
  looseLinks: { columns: string[]; aliases: string[] }[];
  crossJoin: boolean;
  limit: boolean;
  offset: boolean;
  distinct: boolean;
  grouped: boolean;
  /** Aggregates without GROUP BY give one row. */
  aggregated: boolean;
  stars: { qualifier?: string }[];
  orderBy: { column: ColumnName; descending: boolean; nullsFirst: boolean | null }[];
  /** Something other than a column decides the order as well. */
  orderByMore: boolean;
}

export type StatementKind = "select" | "insert" | "update" | "delete" | "merge" | "other";

/** What a statement's text tells without the database. */
export interface StatementFacts {
  kind: StatementKind;
  scopes: Scope[];
  /** Table of INSERT, UPDATE, DELETE, MERGE. */
  target?: { schema?: string; name: string };
  /** Of INSERT … VALUES: how many rows the text gives. */
  insertedRows?: number;
  /** Columns that UPDATE sets. */
  assigned: string[];
  functions: { schema?: string; name: string }[];
  types: { schema?: string; name: string; location: number }[];
  /** OPERATOR(schema.=). */
  qualifiedOperators: boolean;
  /** FOR UPDATE and the like. */
  locksRows: boolean;
  /** INSERT, UPDATE or DELETE in WITH, or INTO. */
  writesInside: boolean;
  parameters: { number: number; location: number }[];
  /** `interval $1`, `extract($1 from x)`: what pg_stat_statements makes of constants, and the server would not read. */
  unreadable: { kind: "typed" | "extract"; parameter: number; location: number; typeLocation: number }[];
  /** Text constants that are still there. */
  constants: boolean;
}

/** Longest text that is read: beyond it are lists of values, of which the beginning tells nothing. */
export const readableBytes = 8_192;

let loading: Promise<void> | undefined;

/** PostgreSQL's parser is 2 MB of WebAssembly: loaded once, and only when there is something to parse. */
export function loadParser(): Promise<void> {
  loading ??= loadModule();
  return loading;
}

/**
 * Reads one statement with PostgreSQL's own grammar (that of 18, which reads what earlier versions wrote).
 * @returns undefined for what it cannot read: a text that was cut, several statements, another dialect
 */
export function parseStatement(text: string): StatementFacts | undefined {
  if (text.length > readableBytes || text.includes("\0") || text.includes("\uFFFD")) return undefined;
  try {
    const { stmts } = parseSync(text);
    const statement = stmts?.[0]?.stmt;
    if (statement === undefined || stmts?.length !== 1) return undefined;
    return new Walker().read(statement as Record<string, unknown>);
  } catch {
    // A syntax error; or, of thousands of nested brackets, the end of a stack.
    return undefined;
  }
}
