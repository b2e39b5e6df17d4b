import { PgkeepError } from "../errors.ts";
import type { JobConfig } from "./schema.ts";

export type Section = { [key: string]: unknown };

/**
 * The configuration that `beyondDefaults` has written, with the defaults of the same version of pgkeep filled in.
 * It was validated when it was deployed: a function does not load the schema again for that.
 * @throws PgkeepError `configuration` when it is not such a text
 */
export function deployedConfig(text: string, defaults: Omit<JobConfig, "key">): JobConfig {
  const broken = (cause: unknown) =>
    new PgkeepError("configuration", "the configuration that was deployed cannot be read", {
      remedy: "deploy again, so that functions and their settings come from the same version",
      cause,
    });
  let given: unknown;
  try {
    given = JSON.parse(text);
  } catch (cause) {
    throw broken(cause);
  }
  if (!isSection(given) || typeof given.key !== "string") throw broken(undefined);
  return filled(given, defaults) as unknown as JobConfig;
}

function filled(given: Section, defaults: Section): Section {
  const whole: Section = { ...defaults };
  for (const [name, value] of Object.entries(given)) {
    const below = defaults[name];
    whole[name] = isSection(value) && isSection(below) ? filled(value, below) : value;
  }
  return whole;
}

export function isSection(value: unknown): value is Section {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
