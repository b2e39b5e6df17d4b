import { at, columnOf, columnsIn, isNode, list, type Node, nameOf, strings, under } from "./nodes.ts";
import type { Relation, Scope, StatementFacts, StatementKind } from "./parse.ts";
import { predicatesOf } from "./predicates.ts";

const aggregates = new Set([
  ...[
    "count",
    "sum",
    "avg",
    "min",
    "max",
    "bool_and",
    "bool_or",
    "every",
    "array_agg",
    "string_agg",
    "json_agg",
  ],
  ...[
    "jsonb_agg",
    "json_object_agg",
    "jsonb_object_agg",
    "stddev",
    "variance",
    "percentile_cont",
    "percentile_disc",
  ],
  ...[
    "mode",
    "xmlagg",
    "bit_and",
    "bit_or",
    "corr",
    "stddev_pop",
    "stddev_samp",
    "var_pop",
    "var_samp",
    "any_value",
  ],
]);
const kinds: Record<string, StatementKind> = {
  SelectStmt: "select",
  InsertStmt: "insert",
  UpdateStmt: "update",
  DeleteStmt: "delete",
  MergeStmt: "merge",
};

/** Parent of the queries in WITH of the statement itself. */
const noScope = -1;

/** Reads the tree that PostgreSQL's parser makes of one statement. */
export class Walker {
  private readonly facts: StatementFacts = {
    kind: "other",
    scopes: [],
    assigned: [],
    functions: [],
    types: [],
    qualifiedOperators: false,
    locksRows: false,
    writesInside: false,
    parameters: [],
    unreadable: [],
    constants: false,
  };

  read(statement: Node): StatementFacts {
    const [[name, body] = ["", {}]] = Object.entries(statement);
    this.facts.kind = kinds[name] ?? "other";
    if (!isNode(body) || this.facts.kind === "other") return this.facts;
    if (name === "SelectStmt") this.select(body, null, "result", new Set());
    else this.write(name, body, null, new Set());
    return this.facts;
  }

  private scope(parent: number | null, role: Scope["role"]): { scope: Scope; index: number } {
    const scope: Scope = {
      parent,
      role,
      relations: [],
      predicates: [],
      links: [],
      looseLinks: [],
      crossJoin: false,
      limit: false,
      offset: false,
      distinct: false,
      grouped: false,
      aggregated: false,
      stars: [],
      orderBy: [],
      orderByMore: false,
    };
    return { scope, index: this.facts.scopes.push(scope) - 1 };
  }

  private select(
    node: Node,
    parent: number | null,
    role: Scope["role"],
    outerNames: ReadonlySet<string>,
  ): void {
    const names = this.withQueries(node.withClause, parent, outerNames);
    if (node.intoClause !== undefined) this.facts.writesInside = true;
    if (list(node.lockingClause).length > 0) this.facts.locksRows = true;
    if (isNode(node.larg) && isNode(node.rarg)) {
      const before = this.facts.scopes.length;
      this.select(node.larg, parent, role, names);
      this.select(node.rarg, parent, role, names);
      // A limit on the whole bounds both halves.
      for (const scope of this.facts.scopes.slice(before)) {
        if (scope.parent === parent && scope.role === role) {
          scope.limit ||= node.limitCount !== undefined;
          scope.offset ||= node.limitOffset !== undefined;
        }
      }
      this.expressions([node.limitCount, node.limitOffset], parent, names);
      return;
    }
    const { scope, index } = this.scope(parent, role);
    for (const item of list(node.fromClause)) this.fromItem(item, scope, index, names, false);
    scope.limit = node.limitCount !== undefined;
    scope.offset = node.limitOffset !== undefined;
    scope.distinct = list(node.distinctClause).length > 0;
    scope.grouped = list(node.groupClause).length > 0;
    for (const target of list(node.targetList)) {
      const value = under(target, "ResTarget")?.val;
      const fields = list(under(value, "ColumnRef")?.fields);
      if (fields.some((field) => field.A_Star !== undefined)) {
        const qualifier = strings(fields).at(-1);
        scope.stars.push(qualifier === undefined ? {} : { qualifier });
      }
      if (!scope.grouped && containsAggregate(value)) scope.aggregated = true;
      this.expression(value, index, names);
    }
    this.conditions(node.whereClause, scope, index, names, false);
    for (const sort of list(node.sortClause)) this.sort(sort, scope, index, names);
    for (const values of list(node.valuesLists))
      this.expressions(list(under(values, "List")?.items), index, names);
    this.expressions(
      [
        ...list(node.groupClause),
        node.havingClause,
        ...list(node.windowClause),
        ...list(node.distinctClause),
      ],
      index,
      names,
    );
    this.expressions([node.limitCount, node.limitOffset], index, names);
  }

  private write(name: string, node: Node, parent: number | null, outerNames: ReadonlySet<string>): void {
    const names = this.withQueries(node.withClause, parent, outerNames);
    const target = isNode(node.relation) ? relationOf(node.relation) : undefined;
    if (parent === null && target?.table !== undefined) this.facts.target = target.table;
    const { scope, index } = this.scope(parent, "source");
    if (name !== "InsertStmt" && target !== undefined) scope.relations.push(target);
    if (name === "InsertStmt") {
      const select = under(node.selectStmt, "SelectStmt");
      const values = list(select?.valuesLists);
      if (parent === null && values.length > 0) this.facts.insertedRows = values.length;
      if (select !== undefined) this.select(select, index, "source", names);
      const conflict = isNode(node.onConflictClause) ? node.onConflictClause : undefined;
      this.targets(conflict?.targetList, index, names);
      this.expressions([conflict?.whereClause], index, names);
    } else if (name === "MergeStmt") {
      this.fromItem(node.sourceRelation as Node, scope, index, names, false);
      this.conditions(node.joinCondition, scope, index, names, false);
      for (const when of list(node.mergeWhenClauses)) {
        const clause = under(when, "MergeWhenClause");
        this.targets(clause?.targetList, index, names);
        this.expressions([clause?.condition, ...list(clause?.values)], index, names);
      }
    } else {
      for (const item of [...list(node.fromClause), ...list(node.usingClause)]) {
        this.fromItem(item, scope, index, names, false);
      }
      this.conditions(node.whereClause, scope, index, names, false);
      if (parent === null) {
        this.facts.assigned = list(node.targetList).flatMap((one) => {
          const column = under(one, "ResTarget")?.name;
          return typeof column === "string" ? [column] : [];
        });
      }
      this.targets(node.targetList, index, names);
    }
    const returning = isNode(node.returningClause) ? node.returningClause.exprs : node.returningList;
    this.targets(returning, index, names);
  }

  private targets(targets: unknown, scope: number, names: ReadonlySet<string>): void {
    for (const target of list(targets)) this.expression(under(target, "ResTarget")?.val, scope, names);
  }

  /** Names that stand for queries, not for tables. */
  private withQueries(
    clause: unknown,
    parent: number | null,
    outer: ReadonlySet<string>,
  ): ReadonlySet<string> {
    if (!isNode(clause)) return outer;
    const names = new Set(outer);
    const queries = list(clause.ctes).flatMap((one): Node[] => {
      const query = under(one, "CommonTableExpr");
      return query === undefined ? [] : [query];
    });
    if (clause.recursive === true) for (const query of queries) names.add(String(query.ctename));
    for (const query of queries) {
      const [[kind, body] = ["", {}]] = Object.entries(isNode(query.ctequery) ? query.ctequery : {});
      if (kind === "SelectStmt") this.select(body as Node, parent ?? noScope, "source", names);
      else if (kinds[kind] !== undefined) {
        this.facts.writesInside = true;
        this.write(kind, body as Node, parent ?? noScope, names);
      }
      names.add(String(query.ctename));
    }
    return names;
  }

  private fromItem(
    item: Node,
    scope: Scope,
    index: number,
    names: ReadonlySet<string>,
    outer: boolean,
  ): string[] {
    const table = under(item, "RangeVar");
    if (table !== undefined) {
      const relation = relationOf(table);
      if (relation.table?.schema === undefined && names.has(String(table.relname))) delete relation.table;
      scope.relations.push(relation);
      return [relation.alias];
    }
    const join = under(item, "JoinExpr");
    if (join !== undefined) return this.join(join, scope, index, names, outer);
    const sample = under(item, "RangeTableSample");
    if (sample !== undefined) {
      this.expressions(list(sample.args), index, names);
      return this.fromItem(sample.relation as Node, scope, index, names, outer);
    }
    const subselect = under(item, "RangeSubselect");
    const other =
      subselect ?? under(item, "RangeFunction") ?? under(item, "RangeTableFunc") ?? under(item, "JsonTable");
    const alias = String(under(other, "alias")?.aliasname ?? `?${scope.relations.length}`);
    scope.relations.push({ alias, location: 0 });
    const query = under(subselect?.subquery, "SelectStmt");
    if (query !== undefined) this.select(query, index, "source", names);
    else if (other !== undefined) this.expression(other, index, names);
    if (other?.lateral === true || subselect === undefined) {
      // It may use what stands before it.
      scope.links.push(scope.relations.map((relation) => relation.alias));
    }
    return [alias];
  }

  private join(
    join: Node,
    scope: Scope,
    index: number,
    names: ReadonlySet<string>,
    outer: boolean,
  ): string[] {
    const isOuter = join.jointype !== "JOIN_INNER";
    const left = this.fromItem(join.larg as Node, scope, index, names, outer || isOuter);
    const right = this.fromItem(join.rarg as Node, scope, index, names, outer || isOuter);
    const both = [...left, ...right];
    const using = strings(join.usingClause);
    if (using.length > 0 || join.isNatural === true) scope.links.push(both);
    else if (join.quals === undefined) scope.crossJoin = true;
    const [onLeft, onRight] = [left.at(-1), right.length === 1 ? right[0] : undefined];
    if (onRight !== undefined && onLeft !== undefined) {
      for (const name of using) {
        scope.predicates.push({
          column: { qualifier: onRight, name },
          operator: "=",
          other: "column",
          ...(left.length === 1 ? { otherColumn: { qualifier: onLeft, name } } : {}),
          outer: isOuter,
        });
      }
    }
    this.conditions(join.quals, scope, index, names, outer || isOuter);
    return both;
  }

  private sort(sort: Node, scope: Scope, index: number, names: ReadonlySet<string>): void {
    const by = under(sort, "SortBy");
    const column = columnOf(by?.node);
    if (column === undefined) scope.orderByMore = true;
    else {
      const nulls = by?.sortby_nulls;
      scope.orderBy.push({
        column,
        descending: by?.sortby_dir === "SORTBY_DESC",
        nullsFirst: nulls === "SORTBY_NULLS_FIRST" ? true : nulls === "SORTBY_NULLS_LAST" ? false : null,
      });
    }
    this.expression(by?.node, index, names);
  }

  private conditions(
    node: unknown,
    scope: Scope,
    index: number,
    names: ReadonlySet<string>,
    outer: boolean,
  ): void {
    if (!isNode(node)) return;
    const bool = under(node, "BoolExpr");
    if (bool?.boolop === "AND_EXPR") {
      for (const part of list(bool.args)) this.conditions(part, scope, index, names, outer);
      return;
    }
    const columns = columnsIn(node);
    scope.links.push(columns.flatMap(({ qualifier }) => (qualifier === undefined ? [] : [qualifier])));
    const loose = columns.filter(({ qualifier }) => qualifier === undefined).map(({ name }) => name);
    if (loose.length > 0) scope.looseLinks.push({ columns: loose, aliases: scope.links.at(-1) ?? [] });
    scope.predicates.push(...predicatesOf(node, outer));
    this.expression(node, index, names);
  }

  private expressions(nodes: readonly unknown[], scope: number | null, names: ReadonlySet<string>): void {
    for (const node of nodes) this.expression(node, scope, names);
  }

  /** Notes what matters wherever it stands; a query inside is a level of its own. */
  private expression(node: unknown, scope: number | null, names: ReadonlySet<string>): void {
    if (Array.isArray(node)) {
      this.expressions(node, scope, names);
      return;
    }
    if (!isNode(node)) return;
    for (const [key, value] of Object.entries(node)) {
      if (!isNode(value)) {
        if (Array.isArray(value)) this.expressions(value, scope, names);
        continue;
      }
      if (key === "SelectStmt") {
        this.select(value, scope, "test", names);
        continue;
      }
      this.note(key, value);
      this.expression(value, scope, names);
    }
  }

  private note(key: string, value: Node): void {
    const { facts } = this;
    if (key === "ParamRef") {
      facts.parameters.push({ number: Number(value.number ?? 0), location: at(value) });
    } else if (key === "FuncCall") {
      facts.functions.push(nameOf(value.funcname));
      const parameter = under(list(value.args)[0], "ParamRef");
      if (
        value.funcformat === "COERCE_SQL_SYNTAX" &&
        nameOf(value.funcname).name === "extract" &&
        parameter
      ) {
        facts.unreadable.push({
          kind: "extract",
          parameter: Number(parameter.number),
          location: at(parameter),
          typeLocation: at(value),
        });
      }
    } else if (key === "typeName" || key === "TypeName") {
      facts.types.push({ ...nameOf(value.names), location: at(value) });
    } else if (key === "TypeCast") {
      const parameter = under(value.arg, "ParamRef");
      const type = isNode(value.typeName) ? at(value.typeName) : 0;
      if (parameter !== undefined && type < at(parameter) && value.location === -1) {
        facts.unreadable.push({
          kind: "typed",
          parameter: Number(parameter.number),
          location: at(parameter),
          typeLocation: type,
        });
      }
    } else if (key === "A_Expr") {
      if (strings(value.name).length > 1) facts.qualifiedOperators = true;
    } else if (key === "A_Const") {
      if (under(value, "sval") !== undefined) facts.constants = true;
    }
  }
}

function relationOf(table: Node): Relation {
  const name = String(table.relname);
  const schema = table.schemaname;
  return {
    alias: String(under(table, "alias")?.aliasname ?? name),
    table: { name, ...(typeof schema === "string" ? { schema } : {}) },
    location: at(table),
  };
}

function containsAggregate(node: unknown): boolean {
  if (Array.isArray(node)) return node.some(containsAggregate);
  if (!isNode(node)) return false;
  const call = under(node, "FuncCall");
  if (call !== undefined && call.over === undefined) {
    if (call.agg_star === true || aggregates.has(nameOf(call.funcname).name)) return true;
  }
  return Object.entries(node).some(([key, value]) => key !== "SelectStmt" && containsAggregate(value));
}
