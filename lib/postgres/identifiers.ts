import { PgkeepError } from "../errors.ts";

/**
 * Quotes one SQL identifier, whatever it contains. The only place where a name becomes SQL.
 * @throws PgkeepError `usage` for an empty name or one with a NUL byte, which PostgreSQL cannot hold
 */
export function identifier(name: string): string {
  if (name.length === 0 || name.includes("\0")) {
    throw new PgkeepError("usage", `${JSON.stringify(name)} cannot be the name of a database object`);
  }
  return `"${name.replaceAll('"', '""')}"`;
}

/** `"schema"."name"`. */
export function qualified(schema: string, name: string): string {
  return `${identifier(schema)}.${identifier(name)}`;
}

/**
 * Quotes a string constant, for utility statements that take no parameters (ALTER ROLE … SET, COMMENT).
 * Everything else passes values as parameters.
 */
export function literal(value: string): string {
  if (value.includes("\0")) {
    throw new PgkeepError("usage", "a text value cannot contain a NUL byte");
  }
  const doubled = value.replaceAll("'", "''");
  return doubled.includes("\\") ? ` E'${doubled.replaceAll("\\", "\\\\")}'` : `'${doubled}'`;
}
