import { z } from "zod";
import { cron, databaseName, form, whole } from "./forms.ts";

const kmsKeyPattern =
  /^(?:arn:[a-z-]+:kms:[a-z0-9-]+:\d{12}:)?(?:alias\/[\w/-]+|(?:key\/)?[0-9a-f-]+|(?:key\/)?mrk-[0-9a-f]+)$/;
const kmsKeyText = "the ARN, the id or the alias/NAME of a key of KMS";

export const logicalBackups = z
  .strictObject({
    directory: z
      .string()
      .min(1)
      .default("pgkeep-dumps")
      .describe(
        "Where `pgkeep dump` keeps logical backups: a directory (a relative name counts from where it is run) or s3://BUCKET/PREFIX",
      ),
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
    kmsKey: form(kmsKeyPattern, kmsKeyText)
      .optional()
      .describe(
        "Key of KMS: each dump is encrypted with a data key of its own that only this key decrypts; by default none",
      ),
    bucketKmsKey: form(kmsKeyPattern, kmsKeyText)
      .optional()
      .describe("Key of KMS that S3 encrypts what is stored in a bucket with; by default the bucket decides"),
    lockWaitSeconds: whole(1, 86_400)
      .default(60)
      .describe("A dump ends when a table is locked by somebody else for longer"),
    task: z
      .strictObject({
        enabled: z
          .boolean()
          .default(false)
          .describe(
            "Whether a task on Fargate takes logical backups on AWS, into a bucket of its own with object lock. Its image is built when it is deployed, which takes Docker there",
          ),
        schedule: cron
          .default("30 1 * * *")
          .describe("When it runs, in schedules.timeZone; off: only when somebody starts it"),
        size: z
          .enum(["small", "medium", "large"])
          .default("small")
          .describe("What it computes with: 0.5, 1 or 4 CPUs, and 2 GiB of memory for each CPU"),
        excludeSchemas: z
          .array(databaseName)
          .max(20)
          .default([])
          .describe("Schemas that are not dumped, beside pgkeep's own"),
        lockMode: z
          .enum(["governance", "compliance"])
          .default("governance")
          .describe(
            "Who can delete a stored version before lockDays: only whoever has a permission of its own (governance), or nobody (compliance)",
          ),
        lockDays: whole(1, 3650)
          .default(30)
          .describe(
            "How long each stored version is locked, and for how long one that was deleted can be had back",
          ),
      })
      .prefault({}),
  })
  .meta({ id: "logicalBackups", description: "Logical backups, taken with pg_dump" });
