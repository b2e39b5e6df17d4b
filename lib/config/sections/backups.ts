import { z } from "zod";
import { form, keyArn, region, seconds, timeOfDay, whole } from "./forms.ts";

export const backups = z
  .strictObject({
    pointInTimeRecoveryDays: whole(1, 35).default(14).describe("How far back every moment can be restored"),
    keepDaily: whole(1, 100).default(7).describe("The newest backup of each of the last days with one"),
    keepWeekly: whole(0, 100).default(4).describe("The newest backup of each of the last ISO weeks with one"),
    keepMonthly: whole(0, 100).default(12).describe("The newest backup of each of the last months with one"),
    window: form(new RegExp(`^${timeOfDay}-${timeOfDay}$`), "a UTC window such as 03:00-03:30")
      .default("22:00-22:30")
      .describe("AWS's own backup window, UTC"),
    copyToRegions: z.array(region()).max(20).default([]).describe("Regions that get a copy of each backup"),
    replicateToRegion: region()
      .optional()
      .describe(
        "Instances only: a region that gets AWS's own backups and the log too, so that every moment can be restored there; needs account.region",
      ),
    replicatedDays: whole(1, 35)
      .optional()
      .describe("How far back every moment can be restored there; by default pointInTimeRecoveryDays"),
    replicationKeyArn: keyArn()
      .optional()
      .describe("Key in that region that encrypts them; by default one is made there"),
    manifest: z
      .strictObject({
        budgetSeconds: seconds({ min: 1, max: 3600 })
          .default(30)
          .describe("Time for counting and hashing tables when a backup is taken"),
        hashTablesUpToBytes: whole(0)
          .default(67_108_864)
          .describe("Tables up to this size get a content hash"),
      })
      .prefault({}),
    drill: z
      .strictObject({
        target: z
          .enum(["latest", "random"])
          .default("latest")
          .describe("Restore everything, or a random moment of the recovery window"),
        maxRtoSeconds: seconds({ min: 1, max: 86_400 })
          .default(14_400)
          .describe("The drill fails when restoring takes longer"),
        maxRpoSeconds: seconds({ min: 1, max: 86_400 })
          .default(900)
          .describe("The drill fails when more than this would be lost"),
      })
      .prefault({}),
  })
  .meta({
    id: "backups",
    description: "How often, how long and where backups are kept, and how restoring is tried",
  });
