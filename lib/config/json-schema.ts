import { z } from "zod";
import { shapeOf, unwrap } from "./describe.ts";
import { fileSchema } from "./file-schema.ts";
import { allowedTexts } from "./sections/forms.ts";

export type JsonSchema = z.core.JSONSchema.JSONSchema;

/** JSON Schema (2020-12) of the file, with descriptions: what editors complete and check while one types. */
export function configJsonSchema(): JsonSchema {
  return z.toJSONSchema(fileSchema, {
    io: "input",
    override: ({ zodSchema, jsonSchema }) => {
      acceptNumbersForVersions(jsonSchema);
      if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
      const text = shapeOf(zodSchema) === undefined ? allowedTexts.get(unwrap(zodSchema))?.text : undefined;
      if (text !== undefined && jsonSchema.description !== undefined) jsonSchema.description += `: ${text}`;
    },
  });
}

/** `engineVersion: 17` is a number in YAML, and the loader takes it. */
function acceptNumbersForVersions(schema: JsonSchema): void {
  if (schema.enum?.every((value) => typeof value === "string" && /^\d+$/.test(value)) !== true) return;
  delete schema.type;
  schema.enum = [...schema.enum, ...schema.enum.map(Number)];
}

/** The text of docs/pgkeep.schema.json, laid out as the project's formatter does. */
export function renderJsonSchema(): string {
  const text = JSON.stringify(configJsonSchema(), null, 2);
  return `${text.replaceAll(/^(.*)\[\n\s+([^[\]{}]*?)\n\s+\](,?)$/gm, shortListOnOneLine)}\n`;
}

function shortListOnOneLine(whole: string, before: string, items: string, after: string): string {
  const line = `${before}[${items.replaceAll(/,\n\s+/g, ", ")}]${after}`;
  return line.length <= 110 ? line : whole;
}
