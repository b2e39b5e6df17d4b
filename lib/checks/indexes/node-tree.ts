/**
 * PostgreSQL's expressions as the catalog stores them (`pg_node_tree`, `nodeToString()` in `outfuncs.c`): compared
 * as they are, because the functions that turn them into SQL take a lock on the table.
 */

/** Where in its statement an expression stood says nothing about what it means. */
const positions =
  / :(?:location|stmt_location|stmt_len|list_start|list_end|rexpr_list_start|rexpr_list_end) -?\d+/g;

export function normalTree(tree: string): string {
  return tree.replaceAll(positions, "");
}

/** The elements of a list `(… …)`: the expressions of an index, in the order of its columns without a number. */
export function elementsOf(list: string): string[] {
  const elements: string[] = [];
  let depth = 0;
  let start = 0;
  for (let at = 0; at < list.length; at++) {
    const character = list[at];
    if (character === "\\") at += 1;
    else if (character === "{") {
      if (depth === 0) start = at;
      depth += 1;
    } else if (character === "}") {
      depth -= 1;
      if (depth === 0) elements.push(list.slice(start, at + 1));
    }
  }
  return elements;
}

const isNotNull =
  /\{NULLTEST :arg \{VAR :varno 1 :varattno (\d+) [^{}]*\} :nulltesttype 1 :argisrow false\}/g;
const nothingElse = /^(?:\{BOOLEXPR :boolop and :args \(\s*\)\})?\s*$/;

/**
 * The columns that a predicate requires to be not null, when it requires nothing else: `a IS NOT NULL AND b IS NOT
 * NULL`. Undefined for any other predicate.
 */
export function requiredNotNull(predicate: string): number[] | undefined {
  const columns = [...predicate.matchAll(isNotNull)].map((match) => Number(match[1]));
  return columns.length > 0 && nothingElse.test(predicate.replaceAll(isNotNull, "")) ? columns : undefined;
}
