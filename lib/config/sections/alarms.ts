import { z } from "zod";
import { percent, seconds, whole } from "./forms.ts";

export const alarms = z
  .strictObject({
    enabled: z.boolean().default(true).describe("Whether alarms are made"),
    transactionIdsPage: whole(200_000_000, 2_000_000_000)
      .default(1_000_000_000)
      .describe(
        "Age of the oldest transaction id at which a page is sent; PostgreSQL stops near 2.1 billion",
      ),
    transactionIdsTicket: whole(200_000_000, 2_000_000_000)
      .default(500_000_000)
      .describe("Age of the oldest transaction id at which a ticket is written"),
    cpuPercent: percent.default(90).describe("Average CPU use above which a page is sent"),
    freeStoragePercent: percent
      .default(10)
      .describe(
        "Free storage, of storageGigabytes, at or below which a page is sent; half of it while storage may grow by itself",
      ),
    temporaryFilesPercent: percent
      .default(5)
      .describe(
        "Bytes written to temporary files in five minutes, of storageGigabytes, above which a ticket is written",
      ),
    oldTransactionSeconds: seconds({ min: 1, max: 604_800 })
      .default(3_600)
      .describe("Age of the oldest open transaction above which a ticket is written"),
    replicaLagSeconds: seconds({ min: 1, max: 86_400 })
      .default(60)
      .describe("Replica lag above which a page is sent"),
    failedLogins: whole(1, 1_000_000)
      .default(20)
      .describe("Refused logins in five minutes, of all servers, at which a ticket is written"),
  })
  .meta({ id: "alarms", description: "Limits of the alarms" });
