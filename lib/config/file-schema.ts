import { z } from "zod";
import { databaseKeySchema, perDatabaseSections, sharedSections } from "./schema.ts";

type Optional<Sections extends Record<string, z.ZodType>> = {
  [Name in keyof Sections]: z.ZodOptional<Sections[Name]>;
};

function optional<Sections extends Record<string, z.ZodType>>(sections: Sections): Optional<Sections> {
  return Object.fromEntries(
    Object.entries(sections).map(([name, section]) => [name, section.optional()]),
  ) as Optional<Sections>;
}

/** What a key under `databases:` may override. */
export const overridesSchema = z
  .strictObject(optional(perDatabaseSections))
  .meta({ description: "Sections of this database alone, over those at the top of the file" });

/** What stands at the top of the file, without looking into `databases`. */
export const topSchema = z.strictObject({
  ...optional(perDatabaseSections),
  ...optional(sharedSections),
  databases: z.unknown().optional(),
});

/** The whole file, for editors. */
export const fileSchema = z
  .strictObject({
    ...optional(perDatabaseSections),
    databases: z
      .record(databaseKeySchema, overridesSchema)
      .optional()
      .describe(
        "Several databases: a name of each, and what is different from the sections at the top. The name is also the database's name in PostgreSQL unless database.name says otherwise",
      ),
    ...optional(sharedSections),
  })
  .meta({ title: "pgkeep.yaml", description: "Configuration of pgkeep" });
