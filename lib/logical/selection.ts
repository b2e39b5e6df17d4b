import { UsageError } from "../errors.ts";
import { parseTableName } from "../maintenance/table-name.ts";
import { identifier, qualified } from "../postgres/identifiers.ts";
import type { Selection } from "./manifest.ts";

export interface SelectionRequest {
  schemas?: readonly string[];
  /** As in SQL: `public.orders`, `"Sales"."Order Lines"`. */
  tables?: readonly string[];
  excludeSchemas?: readonly string[];
  excludeTables?: readonly string[];
  schemaOnly?: boolean;
  dataOnly?: boolean;
}

/** @throws UsageError when the wishes contradict each other */
export function parseSelection(request: SelectionRequest): Selection {
  if (request.schemaOnly === true && request.dataOnly === true) {
    throw new UsageError("--schema-only and --data-only exclude each other");
  }
  const schemas = [...(request.schemas ?? [])];
  const tables = (request.tables ?? []).map(named);
  if (schemas.length > 0 && tables.length > 0) {
    throw new UsageError("--schema and --table exclude each other", {
      remedy: "take two dumps, or name every table of the schema",
    });
  }
  return {
    content: request.schemaOnly === true ? "schema" : request.dataOnly === true ? "data" : "all",
    schemas: schemas.sort(),
    tables: tables.sort(byName),
    excludedSchemas: [...(request.excludeSchemas ?? [])].sort(),
    excludedTables: (request.excludeTables ?? []).map(named).sort(byName),
  };
}

function named(text: string): { schema: string; name: string } {
  const { schema, table } = parseTableName(text);
  return { schema, name: table };
}

const byName = (a: { schema: string; name: string }, b: { schema: string; name: string }) =>
  a.schema < b.schema || (a.schema === b.schema && a.name < b.name) ? -1 : 1;

/**
 * pg_dump's options for it. pg_dump reads names as patterns; within double quotes every letter stands for
 * itself (PostgreSQL documentation, psql, "Patterns"), so a quoted identifier matches that object only.
 */
export function selectionOptions(selection: Selection): string[] {
  return [
    ...(selection.content === "schema" ? ["--schema-only"] : []),
    ...(selection.content === "data" ? ["--data-only"] : []),
    ...selection.schemas.map((schema) => `--schema=${identifier(schema)}`),
    ...selection.tables.map(({ schema, name }) => `--table=${qualified(schema, name)}`),
    ...selection.excludedSchemas.map((schema) => `--exclude-schema=${identifier(schema)}`),
    ...selection.excludedTables.map(({ schema, name }) => `--exclude-table=${qualified(schema, name)}`),
    ...(selection.schemas.length > 0 || selection.tables.length > 0 ? ["--strict-names"] : []),
  ];
}

/** `everything`, `schema sales, data only`, `2 tables`. */
export function selectionText(selection: Selection): string {
  const { schemas, tables, excludedSchemas, excludedTables, content } = selection;
  const what =
    schemas.length > 0
      ? `schema ${schemas.join(", ")}`
      : tables.length > 0
        ? tables.map(({ schema, name }) => `${schema}.${name}`).join(", ")
        : "everything";
  const without = [...excludedSchemas, ...excludedTables.map(({ schema, name }) => `${schema}.${name}`)];
  return [
    what,
    ...(without.length > 0 ? [`without ${without.join(", ")}`] : []),
    ...(content === "all" ? [] : [`${content} only`]),
  ].join(", ");
}

/** Dumps with the same key stand in for each other; retention counts each kind by itself. */
export function selectionKey(selection: Selection): string {
  return JSON.stringify([
    selection.content,
    selection.schemas,
    selection.tables.map(({ schema, name }) => [schema, name]),
    selection.excludedSchemas,
    selection.excludedTables.map(({ schema, name }) => [schema, name]),
  ]);
}
