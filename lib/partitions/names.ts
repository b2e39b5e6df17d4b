import { createHash } from "node:crypto";

/** Longest name that PostgreSQL keeps whole (NAMEDATALEN − 1), in bytes. */
const longest = 63;

/**
 * The name of a partition: the table's, then where its range begins: `events_p20260101`. The same range always gets
 * the same name. One that would not fit keeps as much of the table's name as does, with a hash of the whole of it,
 * so that two tables that begin alike never meet. `taken` names get a number.
 */
export function partitionName(table: string, suffix: string, taken: ReadonlySet<string>): string {
  for (let n = 1; ; n += 1) {
    const name = fitted(table, n === 1 ? `_p${suffix}` : `_p${suffix}_${n}`);
    if (!taken.has(name)) return name;
  }
}

function fitted(table: string, ending: string): string {
  if (Buffer.byteLength(table + ending) <= longest) return table + ending;
  const hash = createHash("sha256").update(table).digest("hex").slice(0, 8);
  return `${cut(table, longest - Buffer.byteLength(ending) - hash.length - 1)}_${hash}${ending}`;
}

/** As many whole characters as fit. */
export function cut(text: string, bytes: number): string {
  let result = "";
  let used = 0;
  for (const character of text) {
    used += Buffer.byteLength(character);
    if (used > bytes) break;
    result += character;
  }
  return result;
}
