import {
  columnOf,
  columnsIn,
  containsQuery,
  isNode,
  list,
  type Node,
  nameOf,
  typeText,
  under,
} from "./nodes.ts";
import type { Pattern, Predicate } from "./parse.ts";

const jsonOperators = new Set(["->", "->>", "#>", "#>>"]);
const commuted: Record<string, string> = {
  "<": ">",
  ">": "<",
  "<=": ">=",
  ">=": "<=",
  "@>": "<@",
  "<@": "@>",
};

/** The conditions on columns that one of the AND-ed conditions is; none for what is made of several with OR. */
export function predicatesOf(node: Node, outer: boolean): Predicate[] {
  const nullTest = under(node, "NullTest");
  if (nullTest !== undefined) {
    const side = sideOf(nullTest.arg);
    const operator = nullTest.nulltesttype === "IS_NULL" ? "is null" : "is not null";
    return side === undefined ? [] : [{ ...side, operator, other: "value", outer }];
  }
  const link = under(node, "SubLink");
  if (link?.subLinkType === "ANY_SUBLINK") {
    const side = sideOf(link.testexpr);
    return side === undefined ? [] : [{ ...side, operator: "in", other: "subquery", outer }];
  }
  const call = under(node, "FuncCall");
  if (call !== undefined) return functionTest(call, outer);
  const bare = columnOf(node);
  if (bare !== undefined) return [{ column: bare, operator: "is true", other: "value", outer }];
  const bool = under(node, "BoolExpr");
  const negated = bool?.boolop === "NOT_EXPR" ? columnOf(list(bool.args)[0]) : undefined;
  if (negated !== undefined) return [{ column: negated, operator: "is false", other: "value", outer }];
  const expression = under(node, "A_Expr");
  if (expression === undefined) return [];
  const operator = operatorOf(expression);
  if (operator === undefined) return [];
  const [left, right] = [sideOf(expression.lexpr), sideOf(expression.rexpr)];
  const found: Predicate[] = [];
  if (left !== undefined) {
    found.push({
      ...left,
      operator,
      ...otherOf(expression.rexpr, right),
      ...patternFor(operator, expression.rexpr),
      outer,
    });
  }
  // LIKE, IN and BETWEEN have their column on the left.
  if (right !== undefined && expression.kind === "AEXPR_OP") {
    found.push({
      ...right,
      operator: commuted[operator] ?? operator,
      ...otherOf(expression.lexpr, left),
      outer,
    });
  }
  return found;
}

/** jsonb_path_exists(column, …) and its like, as conditions. */
function functionTest(call: Node, outer: boolean): Predicate[] {
  const { name } = nameOf(call.funcname);
  const column = columnOf(list(call.args)[0]);
  if (column === undefined || !/^jsonb?_(?:path_|exists)/.test(name)) return [];
  return [{ column, operator: "@?", other: "value", wrap: { kind: "json", name, alone: false }, outer }];
}

function operatorOf(expression: Node): string | undefined {
  switch (expression.kind) {
    case "AEXPR_OP":
    case "AEXPR_LIKE":
    case "AEXPR_ILIKE":
    case "AEXPR_SIMILAR":
      return nameOf(expression.name).name;
    case "AEXPR_IN":
      return nameOf(expression.name).name === "=" ? "in" : undefined;
    case "AEXPR_OP_ANY":
      return nameOf(expression.name).name === "=" ? "any" : undefined;
    case "AEXPR_BETWEEN":
      return "between";
    default:
      return undefined;
  }
}

/** A column, bare or with something around it that an index on the column cannot serve. */
function sideOf(node: unknown): Pick<Predicate, "column" | "wrap"> | undefined {
  const column = columnOf(node);
  if (column !== undefined) return { column };
  if (!isNode(node) || containsQuery(node)) return undefined;
  const collate = under(node, "CollateClause");
  if (collate !== undefined) return sideOf(collate.arg);
  const columns = columnsIn(node);
  const [only] = columns;
  if (only === undefined || columns.length !== 1) return undefined;
  const wrapped = (kind: "function" | "cast" | "operator" | "json", name: string, alone: boolean) => ({
    column: only,
    wrap: { kind, name, alone },
  });
  const cast = under(node, "TypeCast");
  if (cast !== undefined) {
    // (data ->> 'key')::int is still about the key.
    const inner = sideOf(cast.arg);
    if (inner?.wrap?.kind === "json") return inner;
    return wrapped("cast", typeText(cast.typeName), columnOf(cast.arg) !== undefined);
  }
  const call = under(node, "FuncCall");
  if (call !== undefined) {
    const inner = list(call.args)
      .map(sideOf)
      .find((side) => side?.wrap?.kind === "json");
    if (inner !== undefined) return inner;
    const args = list(call.args);
    return wrapped(
      "function",
      nameOf(call.funcname).name,
      args.length === 1 && columnOf(args[0]) !== undefined,
    );
  }
  const coalesce = under(node, "CoalesceExpr");
  if (coalesce !== undefined) return wrapped("function", "coalesce", false);
  if (under(node, "A_Indirection") !== undefined) return wrapped("json", "[]", false);
  const expression = under(node, "A_Expr");
  if (expression !== undefined && expression.kind === "AEXPR_OP") {
    const { name } = nameOf(expression.name);
    const inner = sideOf(expression.lexpr) ?? sideOf(expression.rexpr);
    if (jsonOperators.has(name) || inner?.wrap?.kind === "json") {
      return wrapped("json", inner?.wrap?.name ?? name, false);
    }
    return wrapped("operator", name, false);
  }
  return undefined;
}

function otherOf(
  node: unknown,
  side: Pick<Predicate, "column" | "wrap"> | undefined,
): Pick<Predicate, "other" | "otherColumn" | "otherType"> {
  if (side !== undefined && side.wrap === undefined) return { other: "column", otherColumn: side.column };
  if (containsQuery(node)) return { other: "subquery" };
  if (columnsIn(node).length > 0) return { other: "expression" };
  const type = typeOfValue(node);
  return { other: "value", ...(type === undefined ? {} : { otherType: type }) };
}

/** The type that the text itself gives to a value. */
function typeOfValue(node: unknown): string | undefined {
  const cast = under(node, "TypeCast");
  if (cast !== undefined) return typeText(cast.typeName);
  const items = list(under(under(node, "List") === undefined ? undefined : node, "List")?.items);
  const types = new Set(items.map(typeOfValue));
  return items.length > 0 && types.size === 1 ? [...types][0] : undefined;
}

function patternFor(operator: string, node: unknown): { pattern?: Pattern } {
  if (operator !== "~~" && operator !== "~~*") return {};
  return { pattern: patternOf(node) };
}

function patternOf(node: unknown): Pattern {
  const text = under(under(node, "A_Const"), "sval")?.sval;
  if (typeof text === "string") return /^[%_]/.test(text) ? "leading-wildcard" : "fixed-start";
  const call = under(node, "FuncCall");
  if (call !== undefined && /^(?:like_escape|concat)$/.test(nameOf(call.funcname).name)) {
    return patternOf(list(call.args)[0]);
  }
  const expression = under(node, "A_Expr");
  if (expression !== undefined && nameOf(expression.name).name === "||") return patternOf(expression.lexpr);
  const cast = under(node, "TypeCast");
  return cast === undefined ? "unknown" : patternOf(cast.arg);
}
