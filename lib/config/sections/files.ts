import { z } from "zod";
import { form, whole } from "./forms.ts";

/** What becomes of the objects below one prefix; nothing by default. */
const lifecycle = z
  .strictObject({
    infrequentAccessAfterDays: whole(30, 3650)
      .optional()
      .describe("Objects of this age move to the storage class Standard-IA; by default they stay"),
    archiveAfterDays: whole(1, 3650)
      .optional()
      .describe("Objects of this age move to Glacier Instant Retrieval; by default they stay"),
    expireAfterDays: whole(1, 36_500)
      .optional()
      .describe(
        "Objects of this age are deleted, and gone for good noncurrentDays later; by default they are kept",
      ),
  })
  .prefault({});

export const files = z
  .strictObject({
    enabled: z
      .boolean()
      .default(false)
      .describe("Whether there is a bucket for the files that belong with the database"),
    bucketName: form(
      /^(?=.{3,63}$)(?!sthree-|amzn-s3-demo-)[a-z0-9](?:-?[a-z0-9])*(?<!-s3alias)$/,
      "3 to 63 lower-case letters, digits and single hyphens",
    )
      .optional()
      .describe(
        "Name of the bucket; by default pgkeep-KEY-files-ACCOUNT-REGION. Another name makes another bucket and keeps the old one",
      ),
    exports: lifecycle,
    dumps: lifecycle,
    media: lifecycle,
    noncurrentDays: whole(1, 3650)
      .default(90)
      .describe("A version that was overwritten or deleted can be had back for this long"),
    objectLock: z
      .strictObject({
        mode: z
          .enum(["off", "governance", "compliance"])
          .default("off")
          .describe(
            "Whether versions can be deleted before objectLock.days: only with a permission of its own (governance), or by nobody, the account's owner and AWS included (compliance). Decided when the bucket is made: switching between off and the others later fails, and takes a new bucketName",
          ),
        days: whole(1, 36_500).default(30).describe("How long each new version is locked"),
      })
      .prefault({}),
    corsOrigins: z
      .array(
        form(/^https:\/\/[a-z0-9]+(?:[.-][a-z0-9]+)*(?::\d{1,5})?$/, "an origin such as https://example.com"),
      )
      .max(20)
      .default([])
      .describe("Origins whose pages may read and upload with signed URLs; by default none"),
    accessLogDays: whole(1, 3650).default(90).describe("How long the log of requests to the bucket is kept"),
  })
  .meta({
    id: "files",
    description: "An optional bucket for exports, dumps and media that belong with the database",
  });
