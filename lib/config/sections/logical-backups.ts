import { z } from "zod";
import { form, whole } from "./forms.ts";

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
  })
  .meta({ id: "logicalBackups", description: "Logical backups, taken with pg_dump" });
