import { type DatabaseConfig, databaseConfigSchema } from "../../lib/config/schema.ts";

/** The configuration of one database: defaults, and what is given. */
export function configFor(database: string, sections: Record<string, unknown> = {}): DatabaseConfig {
  const { database: databaseSection, ...others } = sections;
  return {
    key: "test",
    ...databaseConfigSchema.parse({
      database: { name: database, ...(databaseSection as Record<string, unknown> | undefined) },
      ...others,
    }),
  };
}
