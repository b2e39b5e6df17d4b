import { UsageError } from "../errors.ts";

export type TableName = { schema: string; table: string };

/**
 * Reads `schema.table` as SQL would: names without quotes are folded to lower case, `""` inside quotes is one.
 * @throws UsageError when it is not exactly two names
 */
export function parseTableName(text: string): TableName {
  const names: string[] = [];
  let rest = text.trim();
  for (;;) {
    const match = /^(?:"((?:[^"\0]|"")+)"|([\p{L}_][\p{L}\p{N}_$]*))\s*/u.exec(rest);
    if (match === null) throw notATable(text);
    // PostgreSQL folds ASCII letters only in a multi-byte encoding.
    names.push(
      match[1]?.replaceAll('""', '"') ??
        (match[2] as string).replace(/[A-Z]/g, (letter) => letter.toLowerCase()),
    );
    rest = rest.slice(match[0].length);
    if (rest === "") break;
    if (!rest.startsWith(".")) throw notATable(text);
    rest = rest.slice(1).trimStart();
  }
  const [schema, table] = names;
  if (names.length !== 2 || schema === undefined || table === undefined) throw notATable(text);
  return { schema, table };
}

function notATable(text: string): UsageError {
  return new UsageError(`${JSON.stringify(text)} does not name a table`, {
    remedy: 'give it as in SQL, with its schema: public.orders or "Sales"."Order Lines"',
  });
}
