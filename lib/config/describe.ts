import { z } from "zod";
import { either } from "./problems.ts";
import { allowedTexts } from "./sections/forms.ts";

/** A schema without the wrappers that say what happens when nothing is given. */
export function unwrap(schema: z.core.$ZodType): z.core.$ZodType {
  if (
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault ||
    schema instanceof z.ZodNullable
  ) {
    return unwrap(schema.unwrap());
  }
  if (schema instanceof z.ZodPipe) return unwrap(schema.def.out);
  return schema;
}

/** The keys of a mapping, or undefined for everything that is no mapping. */
export function shapeOf(schema: z.core.$ZodType): Readonly<Record<string, z.core.$ZodType>> | undefined {
  const bare = unwrap(schema);
  return bare instanceof z.ZodObject ? bare.shape : undefined;
}

/** The schema of the value at a path below `schema`. */
export function schemaAt(
  schema: z.core.$ZodType,
  path: readonly (string | number)[],
): z.core.$ZodType | undefined {
  let here: z.core.$ZodType | undefined = schema;
  for (const segment of path) {
    if (here === undefined) return undefined;
    const bare: z.core.$ZodType = unwrap(here);
    if (bare instanceof z.ZodObject && typeof segment === "string") {
      here = Object.hasOwn(bare.shape, segment) ? bare.shape[segment] : undefined;
    } else if (bare instanceof z.ZodArray && typeof segment === "number") here = bare.element;
    else return undefined;
  }
  return here;
}

/** What a setting may be, in words: `a whole number from 1 to 35`. */
export function allowed(schema: z.core.$ZodType): string {
  const bare = unwrap(schema);
  const text = allowedTexts.get(bare)?.text;
  if (text !== undefined) return text;
  if (bare instanceof z.ZodEnum) return either(bare.options.map(String));
  if (bare instanceof z.ZodBoolean) return "true or false";
  if (bare instanceof z.ZodNumber) return allowedNumber(bare);
  if (bare instanceof z.ZodArray) return `${listOf(bare)}, each item ${allowed(bare.element)}`;
  if (bare instanceof z.ZodObject) return `a mapping with ${either(Object.keys(bare.shape))}`;
  return "a text";
}

function listOf(schema: z.ZodArray): string {
  const limit = schema.def.checks?.find((check) => check instanceof z.core.$ZodCheckMaxLength);
  return limit === undefined ? "a list" : `a list of at most ${limit._zod.def.maximum}`;
}

function allowedNumber(schema: z.ZodNumber): string {
  const noun = schema.format === "safeint" ? "a whole number" : "a number";
  const least = bound(schema.minValue);
  const most = bound(schema.maxValue);
  if (least !== undefined && most !== undefined) return `${noun} from ${least} to ${most}`;
  if (least !== undefined) return `${noun} from ${least}`;
  return most === undefined ? noun : `${noun} up to ${most}`;
}

function bound(limit: number | null): string | undefined {
  return limit === null || Math.abs(limit) >= Number.MAX_SAFE_INTEGER ? undefined : String(limit);
}

/** The value that stands when the file says nothing; undefined when there is none. */
export function defaultOf(schema: z.core.$ZodType): unknown {
  return schema instanceof z.ZodDefault ? schema.def.defaultValue : undefined;
}

export function descriptionOf(schema: z.core.$ZodType): string {
  return z.globalRegistry.get(schema)?.description ?? z.globalRegistry.get(unwrap(schema))?.description ?? "";
}
