import type { ColumnName } from "./parse.ts";

/** A piece of the tree that PostgreSQL's parser makes: `{ "ColumnRef": { … } }`, or its inside. */
export type Node = Record<string, unknown>;

export const isNode = (value: unknown): value is Node =>
  typeof value === "object" && value !== null && !Array.isArray(value);
export const list = (value: unknown): Node[] => (Array.isArray(value) ? (value as Node[]) : []);
export const under = (value: unknown, key: string): Node | undefined =>
  isNode(value) && isNode(value[key]) ? value[key] : undefined;
export const strings = (value: unknown): string[] =>
  list(value).flatMap((one) => {
    const text = under(one, "String")?.sval;
    return typeof text === "string" ? [text] : [];
  });
export const at = (node: Node): number => (typeof node.location === "number" ? node.location : 0);

/** `schema.name`, as `FuncCall`, `TypeName` and operators give it. */
export function nameOf(value: unknown): { schema?: string; name: string } {
  const parts = strings(value);
  const name = parts.at(-1) ?? "";
  const schema = parts.at(-2);
  return { name, ...(schema === undefined ? {} : { schema }) };
}

export function columnOf(node: unknown): ColumnName | undefined {
  const reference = under(node, "ColumnRef");
  if (reference === undefined) return undefined;
  const parts = strings(reference.fields);
  const name = parts.at(-1);
  if (name === undefined || list(reference.fields).length !== parts.length) return undefined;
  const qualifier = parts.at(-2);
  return { name, ...(qualifier === undefined ? {} : { qualifier }) };
}

/** Every column of an expression, also of queries inside it, which may refer to the tables around them. */
export function columnsIn(node: unknown): ColumnName[] {
  if (Array.isArray(node)) return node.flatMap(columnsIn);
  if (!isNode(node)) return [];
  const column = columnOf(node);
  if (column !== undefined) return [column];
  return Object.values(node).flatMap(columnsIn);
}

export function containsQuery(node: unknown): boolean {
  if (Array.isArray(node)) return node.some(containsQuery);
  return isNode(node) && (node.SelectStmt !== undefined || Object.values(node).some(containsQuery));
}

export function typeText(type: unknown): string {
  if (!isNode(type)) return "";
  const { name } = nameOf(type.names);
  return list(type.arrayBounds).length > 0 ? `${name}[]` : name;
}
