import { closest, distance } from "fastest-levenshtein";
import type { z } from "zod";
import { allowed, schemaAt, shapeOf } from "./describe.ts";
import { fileSchema, overridesSchema, topSchema } from "./file-schema.ts";
import { type ConfigProblem, formatGiven, formatPath } from "./problems.ts";
import { databaseKeySchema, sharedSections } from "./schema.ts";
import {
  emptyMap,
  findEntry,
  isPlainMap,
  type PlainMap,
  type SourceNode,
  setKey,
  toPlain,
} from "./source.ts";

export type Path = readonly (string | number)[];

/** The file's values, of which everything that is not allowed has been taken out. */
export interface ValidatedFile {
  top: PlainMap;
  /** Undefined when the file has no `databases`. */
  databases: Map<string, PlainMap> | undefined;
  problems: ConfigProblem[];
  /** Paths in the file of what was taken out. */
  removed: Path[];
}

/** Checks each value of the file by itself against the schema. */
export function validateFile(root: SourceNode | undefined): ValidatedFile {
  const file = new FileValidation(root);
  const plain = root === undefined ? emptyMap() : toPlain(root);
  if (plain === null) return file.result(emptyMap(), undefined);
  if (!isPlainMap(plain)) {
    file.problem([], "value", `${formatGiven(plain, [])} is not allowed; a mapping of sections`);
    return file.result(emptyMap(), undefined);
  }
  const { databases, ...sections } = plain;
  const top = Object.assign(emptyMap(), sections);
  file.check(topSchema, top, []);
  return file.result(top, file.databases(databases));
}

class FileValidation {
  readonly #root: SourceNode | undefined;
  readonly #problems: ConfigProblem[] = [];
  readonly #removed: Path[] = [];

  constructor(root: SourceNode | undefined) {
    this.#root = root;
  }

  result(top: PlainMap, databases: Map<string, PlainMap> | undefined): ValidatedFile {
    return { top, databases, problems: this.#problems, removed: this.#removed };
  }

  databases(given: unknown): Map<string, PlainMap> | undefined {
    if (given === undefined) return undefined;
    if (!isPlainMap(given) || Object.keys(given).length === 0) {
      const value = isPlainMap(given) ? "an empty mapping" : formatGiven(given, ["databases"]);
      this.problem(
        ["databases"],
        "value",
        `${value} is not allowed; a mapping from a name of each database to what is special about it (leave it out for a single database)`,
      );
      this.#removed.push(["databases"]);
      return undefined;
    }
    const valid = new Map<string, PlainMap>();
    for (const [key, value] of Object.entries(given)) {
      const path = ["databases", key];
      if (!databaseKeySchema.safeParse(key).success) {
        this.problem(path, "value", `not a name for a database; ${allowed(databaseKeySchema)}`);
        this.#removed.push(path);
      }
      if (value !== null && !isPlainMap(value)) {
        this.problem(
          path,
          "value",
          `${formatGiven(value, path)} is not allowed; ${allowed(overridesSchema)}`,
        );
        this.#removed.push(path);
        continue;
      }
      const overrides = value ?? emptyMap();
      this.check(overridesSchema, overrides, path);
      if (databaseKeySchema.safeParse(key).success) valid.set(key, overrides);
    }
    return valid;
  }

  /** Reports what `schema` does not allow in `value`, which stands at `base`, and takes it out. */
  check(schema: z.ZodType, value: PlainMap, base: Path): void {
    dropEmptySections(schema, value);
    const result = schema.safeParse(measurable(value));
    if (result.success) return;
    const reported = new Set<string>();
    for (const issue of result.error.issues) {
      const path = issue.path.map((segment) => (typeof segment === "symbol" ? String(segment) : segment));
      if (issue.code === "unrecognized_keys") {
        for (const key of issue.keys) this.#unknownKey(schema, path, key, base);
        for (const key of issue.keys) this.#remove(value, [...path, key], base);
        continue;
      }
      const place = formatPath(path);
      if (!reported.has(place)) this.#wrongValue(schema, path, base);
      reported.add(place);
      this.#remove(value, path, base);
    }
  }

  problem(path: Path, rule: string, message: string, given?: string): void {
    const entry = findEntry(this.#root, path);
    this.#problems.push({
      severity: "error",
      rule,
      path: formatPath(path),
      ...(entry === undefined ? {} : { line: entry.line, column: entry.column }),
      ...(given === undefined ? {} : { given }),
      message,
    });
  }

  #wrongValue(schema: z.ZodType, path: Path, base: Path): void {
    const whole = [...base, ...path];
    const entry = findEntry(this.#root, whole);
    const given = formatGiven(entry === undefined ? undefined : toPlain(entry.node), whole);
    const target = schemaAt(schema, path);
    const what = target === undefined ? "something else" : allowed(target);
    this.problem(whole, "value", `${given} is not allowed; ${what}`, given);
  }

  #unknownKey(schema: z.ZodType, path: Path, key: string, base: Path): void {
    const parent = schemaAt(schema, path);
    const known = Object.keys((parent && shapeOf(parent)) ?? {});
    const hint = suggestion(key, known, [...base, ...path]);
    this.problem([...base, ...path, key], "unknown-key", `unknown key; ${hint}`);
  }

  #remove(value: PlainMap, path: Path, base: Path): void {
    const list = path.findIndex((segment) => typeof segment === "number");
    const place = list === -1 ? path : path.slice(0, list);
    this.#removed.push([...base, ...place]);
    let parent: unknown = value;
    for (const segment of place.slice(0, -1)) {
      parent = isPlainMap(parent) && typeof segment === "string" ? parent[segment] : undefined;
    }
    const last = place[place.length - 1];
    if (isPlainMap(parent) && typeof last === "string") delete parent[last];
  }
}

/** `backups:` with nothing below it says nothing. */
function dropEmptySections(schema: z.core.$ZodType, value: PlainMap): void {
  for (const [key, inner] of Object.entries(shapeOf(schema) ?? {})) {
    if (!Object.hasOwn(value, key) || shapeOf(inner) === undefined) continue;
    const given = value[key];
    if (given === null) delete value[key];
    else if (isPlainMap(given)) dropEmptySections(inner, given);
  }
}

function suggestion(key: string, known: readonly string[], parent: Path): string {
  if (key === "<<") return "merge keys are not used; settings at the top of the file are every database's";
  const near =
    key.length > 64 || known.length === 0 ? undefined : closest(key.toLowerCase(), known as string[]);
  const byCase = known.find((name) => squeezed(name) === squeezed(key));
  if (byCase !== undefined) return `did you mean ${byCase}?`;
  const elsewhere = placesOf(key).find((place) => place !== formatPath([...parent, key]));
  if (elsewhere !== undefined) {
    const insideDatabase = parent[0] === "databases" && parent.length >= 2;
    const shared = Object.hasOwn(sharedSections, elsewhere.split(".")[0] ?? "");
    return insideDatabase && shared
      ? `${elsewhere} stands once, at the top of the file`
      : `did you mean ${elsewhere}?`;
  }
  if (near !== undefined && distance(key.toLowerCase(), near.toLowerCase()) <= Math.max(2, near.length / 3)) {
    return `did you mean ${near}?`;
  }
  return `known here: ${known.join(", ")}`;
}

function squeezed(name: string): string {
  return name.slice(0, 100).toLowerCase().replaceAll(/[-_ ]/g, "");
}

let places: Map<string, string[]> | undefined;

/** Where in the file a key of this name is known. */
function placesOf(key: string): readonly string[] {
  if (places === undefined) {
    places = new Map();
    collectPlaces(fileSchema, [], places);
  }
  return places.get(key) ?? [];
}

function collectPlaces(schema: z.core.$ZodType, path: readonly string[], into: Map<string, string[]>): void {
  for (const [key, inner] of Object.entries(shapeOf(schema) ?? {})) {
    const here = [...path, key];
    into.set(key, [...(into.get(key) ?? []), here.join(".")]);
    collectPlaces(inner, here, into);
  }
}

/** `over` on top of `base`: mappings are joined, everything else is replaced. Neither is changed. */
export function mergeDeep(base: PlainMap, over: PlainMap): PlainMap {
  const merged = emptyMap();
  for (const [key, value] of Object.entries(base)) setKey(merged, key, value);
  for (const [key, value] of Object.entries(over)) {
    const below = Object.hasOwn(merged, key) ? merged[key] : undefined;
    setKey(merged, key, isPlainMap(below) && isPlainMap(value) ? mergeDeep(below, value) : value);
  }
  return merged;
}

/**
 * The same with no map below a key `length`: the schema library compares the length of whatever stands in the place of
 * a text, and stumbles over one that is no number. No setting has that name.
 */
function measurable(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(measurable);
  if (typeof value !== "object" || value === null) return value;
  const copy = emptyMap();
  for (const [key, one] of Object.entries(value)) {
    copy[key] = key === "length" && typeof one === "object" ? null : measurable(one);
  }
  return copy;
}
