import { createHash } from "node:crypto";

const token = /'(?:[^']|'')*'|"(?:[^"]|"")*"|\/\*[\s\S]*?\*\/|--[^\n]*|\$\d+|\s+|[^\s'"/$-]+|[\s\S]/g;

/** What a statement's text is, whatever its numbers of parameters, its comments and its white space. */
export interface Shape {
  /** Statements with the same one differ in how many values their lists have. */
  shape: string;
  comments: string[];
}

export function shapeOf(text: string): Shape {
  const comments: string[] = [];
  let shape = "";
  for (const [part] of text.matchAll(token)) {
    if (part.startsWith("/*")) comments.push(part.slice(2, -2));
    else if (part.startsWith("--")) comments.push(part.slice(2));
    else if (/^\$\d/.test(part)) shape += "$";
    else if (/^\s/.test(part)) shape += " ";
    else shape += part;
  }
  const folded = shape
    .replace(/\s+/g, " ")
    .trim()
    .replace(/ ?([(),]) ?/g, "$1")
    .replace(/\$(?:,\$)+/g, "$")
    .replace(/(\(\$\))(?:,\(\$\))+/g, "$1");
  return { shape: folded, comments };
}

/** A name for a statement that is the same on every server, and after a dump and restore. */
export function nameOfShape(shape: string): string {
  return createHash("sha256").update(shape).digest("hex").slice(0, 12);
}

/** What tells where in the code a statement is; anything else in a comment may be data. */
const codeKeys = new Set([
  ...["application", "app", "service", "framework", "controller", "action", "route", "namespaced_controller"],
  ...[
    "job",
    "job_tag",
    "file",
    "line",
    "function",
    "func",
    "method",
    "source",
    "source_location",
    "module",
    "class",
  ],
  ...["view", "task", "worker", "resolver", "graphql_operation", "operation", "repository", "caller"],
]);

/** Characters of one value, and of all. */
const longestValue = 120;

/**
 * Where in the application a statement comes from, by its comments: sqlcommenter's `key='value',…`, percent encoded,
 * or marginalia's `key:value,…`. pg_stat_statements keeps the comment of whoever came first.
 */
export function originOf(comments: readonly string[]): string | undefined {
  const found: string[] = [];
  for (const comment of comments) {
    for (const [key, value] of pairs(comment.trim())) {
      const clean = printable(value);
      if (codeKeys.has(key.toLowerCase()) && clean !== "") found.push(`${key}=${clean}`);
    }
  }
  return found.length === 0 ? undefined : found.slice(0, 8).join(" ");
}

function pairs(comment: string): [string, string][] {
  const quoted = [...comment.matchAll(/([A-Za-z_][\w%.-]*)='((?:[^'\\]|\\.)*)'/g)];
  if (quoted.length > 0) {
    return quoted.map(([, key = "", value = ""]) => [decoded(key), decoded(value).replaceAll("\\'", "'")]);
  }
  return comment.split(",").flatMap((part): [string, string][] => {
    const match = /^\s*([A-Za-z_]\w*)\s*[:=]\s*(.+?)\s*$/s.exec(part);
    return match === null ? [] : [[match[1] ?? "", match[2] ?? ""]];
  });
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function printable(text: string): string {
  return [...text.replace(/[\p{Cc}\p{Cf}\s]+/gu, " ").trim()].slice(0, longestValue).join("");
}
