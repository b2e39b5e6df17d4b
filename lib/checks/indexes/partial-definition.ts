import { identifier } from "../../postgres/identifiers.ts";

const name = '(?:"(?:[^"]|"")*"|[^\\s".(]+)';
const head = new RegExp(`^CREATE INDEX CONCURRENTLY ${name} ON (${name}\\.${name}) USING btree \\(`);

export interface PartialDefinition {
  /** `CREATE INDEX CONCURRENTLY …;` */
  statement: string;
  /** What hypopg can pretend: its keys and its predicate. */
  body: string;
}

/**
 * The definition of an index of all rows as one of some: the same operator classes, collations, directions, INCLUDE
 * columns, storage parameters and tablespace.
 * @param definition as `pg_get_indexdef` writes it, CONCURRENTLY
 * @param without place of a key column that is the same in all those rows, so that it finds none of them
 * @returns undefined for what is not of that form
 */
export function partialDefinition(
  definition: string,
  newName: string,
  predicate: string,
  without?: number,
): PartialDefinition | undefined {
  const found = head.exec(definition);
  if (found === null || !definition.endsWith(";")) return undefined;
  const list = keyList(definition, found[0].length);
  if (list === undefined) return undefined;
  const keys = list.keys.filter((_, place) => place !== without).join(", ");
  const rest = definition.slice(list.end, -1);
  return {
    statement: `CREATE INDEX CONCURRENTLY ${identifier(newName)} ON ${found[1]} USING btree (${keys}${rest} WHERE ${predicate};`,
    body: `using btree (${keys}) where ${predicate}`,
  };
}

/** Elements of a list in brackets that begins there, and where its bracket closes. */
function keyList(text: string, start: number): { keys: string[]; end: number } | undefined {
  const keys: string[] = [];
  let depth = 0;
  let from = start;
  let quote = "";
  for (let at = start; at < text.length; at++) {
    const character = text[at] as string;
    // A doubled quote ends and begins again.
    if (quote !== "") quote = character === quote ? "" : quote;
    else if (character === '"' || character === "'") quote = character;
    else if (character === "(") depth += 1;
    else if (depth > 0) depth -= character === ")" ? 1 : 0;
    else if (character === "," || character === ")") {
      keys.push(text.slice(from, at).trim());
      from = at + 1;
      if (character === ")") return { keys, end: at };
    }
  }
  return undefined;
}
