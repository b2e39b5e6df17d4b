import { z } from "zod";
import { seconds, whole } from "./forms.ts";

export const pooling = z
  .strictObject({
    enabled: z.boolean().default(true).describe("Whether a pooler stands before the database"),
    mode: z
      .enum(["transaction", "session"])
      .default("transaction")
      .describe(
        "When a server connection goes back to the pool: after each transaction, or when the client leaves",
      ),
    poolSize: whole(1, 5_000).default(20).describe("Server connections for each user and database"),
    reservePoolSize: whole(0, 1_000)
      .default(5)
      .describe("Further server connections for when clients have to wait"),
    maxClientConnections: whole(1, 100_000)
      .default(1_000)
      .describe(
        "PgBouncer: clients that it accepts at the same time. RDS Proxy has no such limit and ignores it",
      ),
    borrowTimeoutSeconds: seconds({ min: 1, max: 300 })
      .default(30)
      .describe("How long a client waits for a server connection"),
    idleTimeoutSeconds: seconds({ min: 1, max: 86_400 })
      .default(600)
      .describe(
        "PgBouncer: a server connection that nobody used for this long is closed. RDS Proxy keeps as many as poolSize open, however long they are idle, and ignores it",
      ),
    idleClientTimeoutSeconds: seconds({ min: 1, max: 28_800 })
      .default(1_800)
      .describe(
        "RDS Proxy: a client that sent nothing for this long is disconnected. PgBouncer keeps idle clients",
      ),
    readerEndpoint: z
      .boolean()
      .optional()
      .describe(
        "RDS Proxy: whether it has a second endpoint for reads, which takes Aurora; by default where there are Aurora replicas",
      ),
  })
  .meta({ id: "pooling", description: "The connection pooler before the database" });
