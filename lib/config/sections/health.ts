import { z } from "zod";
import { percent, seconds, whole } from "./forms.ts";

export const health = z
  .strictObject({
    connectionsPercent: percent
      .default(90)
      .describe("A finding when more than this share of max_connections is in use"),
    longQueryWarnSeconds: seconds({ min: 1, max: 86_400 })
      .default(30)
      .describe("A query that runs for longer is a warning"),
    longQueryTicketSeconds: seconds({ min: 1, max: 86_400 })
      .default(300)
      .describe("A query that runs for longer is a ticket"),
    idleInTransactionSeconds: seconds({ min: 1, max: 86_400 })
      .default(60)
      .describe("A transaction that does nothing for longer is a finding"),
    blockedSeconds: seconds({ min: 1, max: 86_400 })
      .default(10)
      .describe("A session that waits for a lock for longer is a finding"),
    cacheHitPercent: percent
      .default(90)
      .describe("A finding when fewer reads than this share are served from shared buffers"),
    slotRetainedBytes: whole(1)
      .default(10_737_418_240)
      .describe("A finding when a replication slot holds back more WAL than this"),
    transactionIdsHigh: whole(200_000_000, 2_000_000_000)
      .default(500_000_000)
      .describe(
        "Age of the oldest transaction id from which a finding is high; autovacuum begins at 200 million",
      ),
    transactionIdsCritical: whole(200_000_000, 2_000_000_000)
      .default(1_000_000_000)
      .describe("Age from which it is critical; PostgreSQL stops near 2.1 billion"),
    poolWaitSeconds: seconds({ min: 1, max: 3_600 })
      .default(5)
      .describe(
        "`pgkeep pools`: a finding when a client of the pooler has waited longer for a server connection",
      ),
    clockSkewSeconds: seconds({ min: 1, max: 3_600 })
      .default(10)
      .describe(
        "A finding, and a ticket, when the server's clock and pgkeep's are further apart: ages and leases compare them",
      ),
    freeStoragePercent: percent
      .default(10)
      .describe("A finding when the database leaves less than this free of maxStorageGigabytes"),
  })
  .meta({ id: "health", description: "Limits of the health check" });
