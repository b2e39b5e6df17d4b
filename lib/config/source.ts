import { type Alias, isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from "yaml";
import { type ConfigProblem, formatPath, looksSecret } from "./problems.ts";

/** A value of the file and where it stands. */
export interface SourceNode {
  value: SourceValue;
  line: number;
  column: number;
  /** How many values it would be with every alias written out. */
  size: number;
  /** How many levels it has, every alias written out. */
  height: number;
}

export type SourceValue =
  | { kind: "scalar"; value: unknown }
  | { kind: "list"; items: SourceNode[] }
  | { kind: "map"; entries: Map<string, SourceEntry> };

export interface SourceEntry {
  /** Position of the key. */
  line: number;
  column: number;
  node: SourceNode;
}

/** Far more than a configuration needs; from about 1 MiB some texts keep the parser busy for ten seconds. */
const maxCharacters = 2 ** 18;
const maxValues = 100_000;
const maxDepth = 32;
const maxSyntaxProblems = 10;

type Position = { line: number; column: number };

/**
 * Reads YAML into a tree that knows its lines, without ever building objects from the file's own keys.
 * @returns `root` undefined when nothing usable could be read; the problems say why, unless the file is empty
 */
export function readSource(text: string): { root: SourceNode | undefined; problems: ConfigProblem[] } {
  if (text.length > maxCharacters) {
    return nothing(fileProblem("the file is larger than 256 KiB, which no configuration of pgkeep is"));
  }
  const clean = text.startsWith("\uFEFF") ? text.slice(1) : text;
  const lines = new LineCounter();
  const position = (offset: number): Position => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  try {
    const document = parseDocument(clean, {
      lineCounter: lines,
      prettyErrors: false,
      uniqueKeys: false,
      stringKeys: true,
      resolveKnownTags: false,
      schema: "core",
      merge: false,
      logLevel: "error",
    });
    const complaints = [...document.errors, ...document.warnings];
    if (complaints.length > 0) {
      const rows = clean.split("\n");
      const problems = complaints.slice(0, maxSyntaxProblems).map((complaint): ConfigProblem => {
        const at = position(complaint.pos[0]);
        return {
          ...fileProblem(syntaxMessage(complaint.code, complaint.message, rows[at.line - 1] ?? "")),
          rule: "syntax",
          ...at,
        };
      });
      return { root: undefined, problems };
    }
    const builder = new Builder(position);
    const root = document.contents === null ? undefined : builder.build(document.contents, [], 0);
    if (root !== undefined && root.size > maxValues) {
      return nothing(
        fileProblem(`the file has more than ${maxValues.toLocaleString("en")} values, aliases written out`),
      );
    }
    if (root !== undefined && root.height > maxDepth) throw new TooDeep();
    return { root, problems: builder.problems };
  } catch (error) {
    if (error instanceof TooDeep || error instanceof RangeError) {
      return nothing(fileProblem(`the file is nested deeper than ${maxDepth} levels`));
    }
    throw error;
  }
}

class TooDeep extends Error {}

/** Turns the parser's nodes into a tree; each alias becomes the tree of its anchor. */
class Builder {
  readonly problems: ConfigProblem[] = [];
  readonly #position: (offset: number) => Position;
  /** Anchors met so far; null while the anchored value is still being built. */
  readonly #anchors = new Map<string, SourceNode | null>();

  constructor(position: (offset: number) => Position) {
    this.#position = position;
  }

  build(node: Node | null | undefined, path: readonly (string | number)[], depth: number): SourceNode {
    if (depth > maxDepth) throw new TooDeep();
    const at = this.#position(node?.range?.[0] ?? 0);
    if (isAlias(node)) return this.#resolve(node, path, at);
    const anchor = (isMap(node) || isSeq(node) || isScalar(node)) && node.anchor ? node.anchor : undefined;
    if (anchor !== undefined) this.#anchors.set(anchor, null);
    const built: SourceNode = { value: { kind: "scalar", value: null }, size: 1, height: 1, ...at };
    if (isMap(node)) this.#fillMap(built, node.items as { key: unknown; value: unknown }[], path, depth);
    else if (isSeq(node)) {
      const items = (node.items as (Node | null)[]).map((item, index) =>
        this.build(item, [...path, index], depth + 1),
      );
      built.value = { kind: "list", items };
      for (const item of items) grow(built, item);
    } else if (isScalar(node)) built.value = { kind: "scalar", value: node.value };
    if (anchor !== undefined) this.#anchors.set(anchor, built);
    return built;
  }

  #fillMap(
    built: SourceNode,
    pairs: readonly { key: unknown; value: unknown }[],
    path: readonly (string | number)[],
    depth: number,
  ): void {
    const entries = new Map<string, SourceEntry>();
    for (const pair of pairs) {
      const key = isScalar(pair.key) ? String(pair.key.value ?? "") : String(pair.key);
      const at = this.#position(isScalar(pair.key) ? (pair.key.range?.[0] ?? 0) : 0);
      const here = [...path, key];
      const node = this.build(pair.value as Node | null, here, depth + 1);
      const first = entries.get(key);
      if (first !== undefined) {
        this.problems.push({
          severity: "error",
          rule: "duplicate-key",
          path: formatPath(here),
          ...at,
          message: `given twice; the first is on line ${first.line}`,
        });
        continue;
      }
      entries.set(key, { ...at, node });
      grow(built, node);
    }
    built.value = { kind: "map", entries };
  }

  #resolve(alias: Alias, path: readonly (string | number)[], at: Position): SourceNode {
    const target = this.#anchors.get(alias.source);
    if (target) return target;
    this.problems.push({
      severity: "error",
      rule: "syntax",
      path: formatPath(path),
      ...at,
      message: target === null ? "an alias that contains itself" : "an alias without an anchor before it",
    });
    return { value: { kind: "scalar", value: null }, size: 1, height: 1, ...at };
  }
}

function grow(parent: SourceNode, child: SourceNode): void {
  parent.size += child.size;
  parent.height = Math.max(parent.height, child.height + 1);
}

function nothing(problem: ConfigProblem): { root: undefined; problems: ConfigProblem[] } {
  return { root: undefined, problems: [problem] };
}

export function fileProblem(message: string): ConfigProblem {
  return { severity: "error", rule: "file", path: "", message };
}

const plainMessages: Record<string, string> = {
  TAB_AS_INDENT: "indented with a tab; YAML indents with spaces only",
  BAD_INDENT: "indented differently from what it belongs to",
  MULTIPLE_DOCS: "a second document begins here; a configuration is one document, without ---",
  NON_STRING_KEY: "a key must be a plain text",
  TAG_RESOLVE_FAILED: "tags such as !name are not used in a configuration",
  RESOURCE_EXHAUSTION: `the file is nested deeper than ${maxDepth} levels`,
};

/** The parser's own words may repeat the file's text, so not beside what looks secret. */
function syntaxMessage(code: string, message: string, row: string): string {
  const plain = plainMessages[code];
  if (plain !== undefined) return plain;
  if (looksSecret(row)) return "this is not valid YAML";
  const first = (message.split("\n")[0] ?? "").replace(/[.:]$/, "");
  return `not valid YAML: ${first.length > 120 ? `${first.slice(0, 119)}…` : first}`;
}

/** The node at a path, as far as it exists in the file. */
export function findEntry(
  root: SourceNode | undefined,
  path: readonly (string | number)[],
): (Position & { node: SourceNode }) | undefined {
  let here: (Position & { node: SourceNode }) | undefined =
    root === undefined ? undefined : { line: root.line, column: root.column, node: root };
  for (const segment of path) {
    const value: SourceValue | undefined = here?.node.value;
    if (value?.kind === "map" && typeof segment === "string") here = value.entries.get(segment);
    else if (value?.kind === "list" && typeof segment === "number") {
      const item: SourceNode | undefined = value.items[segment];
      here = item && { line: item.line, column: item.column, node: item };
    } else return undefined;
  }
  return here;
}

/** An object without prototype, so that a key named `__proto__` is a key like any other. */
export type PlainMap = { [key: string]: unknown };

/** The values alone. */
export function toPlain(node: SourceNode): unknown {
  const { value } = node;
  if (value.kind === "scalar") return value.value;
  if (value.kind === "list") return value.items.map(toPlain);
  const map = emptyMap();
  for (const [key, entry] of value.entries) setKey(map, key, toPlain(entry.node));
  return map;
}

export function emptyMap(): PlainMap {
  return Object.create(null) as PlainMap;
}

/** Assignment that never reaches a setter such as `__proto__`'s. */
export function setKey(map: PlainMap, key: string, value: unknown): void {
  Object.defineProperty(map, key, { value, enumerable: true, writable: true, configurable: true });
}

export function isPlainMap(value: unknown): value is PlainMap {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
