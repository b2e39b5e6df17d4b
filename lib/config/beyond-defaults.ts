import { PgkeepError } from "../errors.ts";
import { type DatabaseConfig, databaseConfigSchema, databaseKeySchema } from "./schema.ts";

type Value = { [key: string]: unknown };

/**
 * The configuration of one database as short JSON: its key and what differs from the defaults. Deterministic,
 * and small enough for a Lambda's environment (4 KB in all).
 */
export function beyondDefaults(config: DatabaseConfig): string {
  const { key, ...sections } = config;
  return JSON.stringify({ key, ...difference(sections, databaseConfigSchema.parse({})) });
}

/**
 * The configuration that `beyondDefaults` was given, with every default filled in.
 * @throws PgkeepError `configuration`
 */
export function withDefaults(text: string): DatabaseConfig {
  try {
    const { key, ...sections } = JSON.parse(text) as Value;
    return { key: databaseKeySchema.parse(key), ...databaseConfigSchema.parse(sections) };
  } catch (cause) {
    throw new PgkeepError("configuration", "the configuration that was deployed is not one of this pgkeep", {
      remedy: "deploy again, so that functions and their settings come from the same version",
      cause,
    });
  }
}

function difference(value: Value, defaults: Value): Value {
  const different: Value = {};
  for (const name of Object.keys(value).sort()) {
    const [ours, theirs] = [value[name], defaults[name]];
    if (isSection(ours) && isSection(theirs)) {
      const inner = difference(ours, theirs);
      if (Object.keys(inner).length > 0) different[name] = inner;
    } else if (JSON.stringify(ours) !== JSON.stringify(theirs)) {
      different[name] = ours;
    }
  }
  return different;
}

function isSection(value: unknown): value is Value {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
