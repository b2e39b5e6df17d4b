import { z } from "zod";
import { allowedTexts, databaseName, form, keyArn, whole } from "./forms.ts";

export const database = z
  .strictObject({
    name: databaseName.default("app").describe("Name of the database in PostgreSQL"),
    topology: z
      .enum(["instance", "multi-az-cluster", "aurora"])
      .default("instance")
      .describe("RDS instance with Multi-AZ standby, RDS Multi-AZ DB cluster, or Aurora PostgreSQL"),
    engineVersion: z
      .preprocess(
        (given) => (typeof given === "number" ? String(given) : given),
        z.enum(["14", "15", "16", "17", "18"]),
      )
      .default("17")
      .describe("Major version of PostgreSQL; minors follow by themselves"),
    instanceClass: form(
      /^(?:[a-z]+\d[a-z0-9]*\.[a-z0-9]+|serverless)$/,
      "an instance class without db., such as m7g.large, or serverless",
    )
      .default("m7g.large")
      .describe(
        "RDS instance class without the db. prefix; `serverless` for Aurora serverless v2. Where the topology cannot have the default: r7g.large (aurora), m6gd.large (multi-az-cluster)",
      ),
    storageGigabytes: whole(20, 65_536).default(100).describe("Allocated storage; Aurora allocates its own"),
    maxStorageGigabytes: whole(20, 65_536)
      .default(500)
      .describe("Upper end of storage autoscaling; the same as storageGigabytes switches autoscaling off"),
    maxConnections: whole(20, 10_000)
      .optional()
      .describe("max_connections; by default what the instance class gives"),
    serverless: z
      .strictObject({
        minCapacityUnits: z
          .number()
          .min(0.5)
          .max(256)
          .multipleOf(0.5)
          .default(2)
          .register(allowedTexts, { text: "a multiple of 0.5 from 0.5 to 256" })
          .describe("Capacity units, of 2 GiB each, that are always there"),
        maxCapacityUnits: z
          .number()
          .min(1)
          .max(256)
          .multipleOf(0.5)
          .default(16)
          .register(allowedTexts, { text: "a multiple of 0.5 from 1 to 256" })
          .describe("Capacity units up to which it grows; the parameters are sized for them"),
      })
      .prefault({}),
    insights: z
      .enum(["standard", "advanced", "off"])
      .default("standard")
      .describe(
        "Database Insights: standard keeps 7 days of what sessions waited for, without charge; advanced 15 months, billed; off nothing",
      ),
    restoreFrom: z
      .strictObject({
        snapshotId: form(
          /^(?:arn:aws[\w-]*:rds:[a-z0-9-]+:\d{12}:(?:cluster-)?snapshot:)?(?:rds:|awsbackup:)?[A-Za-z](?:-?[A-Za-z0-9])*$/,
          "the identifier or ARN of a snapshot, such as pgkeep-shop-20260102",
        )
          .optional()
          .describe(
            "The database is made from this snapshot. Stays in the file for as long as the stack stands: see docs/restore-on-aws.md",
          ),
        resourceId: form(
          /^(?:db|cluster)-[A-Z0-9]{8,60}$/,
          "a resource id such as db-ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        )
          .optional()
          .describe("Resource id of the instance or cluster whose past is restored, deleted or not"),
        time: form(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/, "a moment in UTC such as 2026-01-02T03:04:05Z")
          .optional()
          .describe("The moment to restore to"),
        latest: z
          .boolean()
          .default(false)
          .describe("Restore to the last moment that can be, instead of time"),
        kmsKeyArn: keyArn()
          .optional()
          .describe(
            "The customer key that the source is encrypted with; it becomes this database's too. An instance needs it; without it a cluster gets a key of its own",
          ),
      })
      .prefault({}),
    deletionProtection: z
      .boolean()
      .default(true)
      .describe("Whether AWS refuses to delete the database until this is switched off"),
  })
  .meta({ id: "database", description: "What the database is and what it runs on" });
