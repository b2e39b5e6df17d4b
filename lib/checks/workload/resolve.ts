import type { ColumnName, Predicate, Relation, Scope, StatementFacts } from "./parse.ts";
import type { Statement, Workload } from "./statements.ts";
import type { Column, Table, Tables } from "./tables.ts";

/** A column of a table that exists. */
export interface Resolved {
  table: Table;
  column: Column;
  alias: string;
}

/** What a name in one level of a statement means; undefined when it could mean several things, or nothing known. */
export function resolveColumn(
  facts: StatementFacts,
  scope: Scope,
  tables: Tables,
  { qualifier, name }: ColumnName,
): Resolved | undefined {
  for (let level: Scope | undefined = scope; level !== undefined; level = outside(facts, level)) {
    if (qualifier !== undefined) {
      const relation = level.relations.find(({ alias }) => alias === qualifier);
      if (relation !== undefined) return columnOf(relation, tables, name);
      continue;
    }
    const found = level.relations.flatMap((relation) => columnOf(relation, tables, name) ?? []);
    // What is not a table of this database may have a column of that name too.
    const unknown = level.relations.some((relation) => tableOf(relation, tables) === undefined);
    if (found.length === 1 && !unknown) return found[0];
    if (found.length > 0 || unknown) return undefined;
  }
  return undefined;
}

function outside(facts: StatementFacts, scope: Scope): Scope | undefined {
  return scope.parent === null ? undefined : facts.scopes[scope.parent];
}

export function tableOf(relation: Relation, tables: Tables): Table | undefined {
  return relation.table === undefined ? undefined : tables.find(relation.table);
}

function columnOf(relation: Relation, tables: Tables, name: string): Resolved | undefined {
  const table = tableOf(relation, tables);
  const column = table?.columns.find((one) => one.name === name);
  return table === undefined || column === undefined ? undefined : { table, column, alias: relation.alias };
}

/** A condition on a column of a known table. */
export interface Condition extends Resolved {
  predicate: Predicate;
  scope: Scope;
  /** What it is compared with, when that is a column of a known table. */
  other?: Resolved;
}

const known = new WeakMap<StatementFacts, { tables: Tables; conditions: Condition[] }>();

/** Every condition on a column that is known; worked out once for all checks. */
export function conditionsOf(facts: StatementFacts, tables: Tables): Condition[] {
  const before = known.get(facts);
  if (before?.tables === tables) return before.conditions;
  const conditions = readConditions(facts, tables);
  known.set(facts, { tables, conditions });
  return conditions;
}

function readConditions(facts: StatementFacts, tables: Tables): Condition[] {
  return facts.scopes.flatMap((scope) =>
    scope.predicates.flatMap((predicate): Condition[] => {
      const resolved = resolveColumn(facts, scope, tables, predicate.column);
      if (resolved === undefined) return [];
      const { otherColumn } = predicate;
      const other = otherColumn === undefined ? undefined : resolveColumn(facts, scope, tables, otherColumn);
      return [{ ...resolved, predicate, scope, ...(other === undefined ? {} : { other }) }];
    }),
  );
}

/** Tables of the database that a statement names, each once. */
export function namedTables(facts: StatementFacts, tables: Tables): Table[] {
  const found = facts.scopes.flatMap((scope) =>
    scope.relations.flatMap((relation) => tableOf(relation, tables) ?? []),
  );
  const target = facts.target === undefined ? undefined : tables.find(facts.target);
  return [...new Set(target === undefined ? found : [target, ...found])];
}

const systemSchema = /^pg_|^information_schema$|^pgkeep$/;

/**
 * Whether a statement is the application's: it touches something that is neither the system's nor pgkeep's. What
 * could not be parsed is judged by nothing, and is nobody's.
 */
export function isOfApplication({ facts, toplevel }: Statement): boolean {
  if (facts === undefined || facts.kind === "other" || !toplevel) return false;
  const relations = facts.scopes.flatMap((scope) =>
    scope.relations.flatMap(({ table }) => (table === undefined ? [] : [table])),
  );
  if (facts.target !== undefined) relations.push(facts.target);
  const own = ({ schema, name }: { schema?: string; name: string }) =>
    !name.startsWith("pg_") && !systemSchema.test(schema ?? "");
  if (relations.some(own)) return true;
  return relations.length === 0 && facts.functions.some((one) => own(one) && one.schema !== undefined);
}

/** The application's statements, the costliest first. */
export function applicationStatements({ statements }: Workload): (Statement & { facts: StatementFacts })[] {
  return statements
    .filter((statement): statement is Statement & { facts: StatementFacts } => isOfApplication(statement))
    .sort((a, b) => b.total.execMilliseconds - a.total.execMilliseconds);
}
