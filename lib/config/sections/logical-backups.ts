import { z } from "zod";
import { form, whole } from "./forms.ts";

export const logicalBackups = z
  .strictObject({
    directory: z
      .string()
      .min(1)
      .default("pgkeep-dumps")
      .describe("Where `pgkeep dump` keeps logical backups; a relative name counts from where it is run"),
    keepDaily: whole(1, 100).default(7).describe("The newest dump of each of the last days with one"),
    keepWeekly: whole(0, 100).default(4).describe("The newest dump of each of the last ISO weeks with one"),
    keepMonthly: whole(0, 100).default(12).describe("The newest dump of each of the last months with one"),
    compression: form(
      /^(?:none|gzip(?::[1-9])?|zstd(?::(?:[1-9]|1\d|2[0-2]))?)$/,
      "none, gzip, gzip:1 to gzip:9, zstd, or zstd:1 to zstd:22",
    )
      .optional()
      .describe("How dumps are compressed; by default zstd where pg_dump has it, else gzip"),
    jobs: whole(1, 64).default(2).describe("Tables that are dumped or restored at the same time"),
    keyFile: z
      .string()
      .min(1)
      .optional()
      .describe(
        "Key file that dumps are encrypted for (`pgkeep dump new-key`); by default they are not encrypted",
      ),
    lockWaitSeconds: whole(1, 86_400)
      .default(60)
      .describe("A dump ends when a table is locked by somebody else for longer"),
  })
  .meta({ id: "logicalBackups", description: "Logical backups, taken with pg_dump" });
