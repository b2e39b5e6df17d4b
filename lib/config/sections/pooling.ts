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
      .describe("Clients that the pooler accepts at the same time"),
    borrowTimeoutSeconds: seconds({ min: 1, max: 300 })
      .default(30)
      .describe("How long a client waits for a server connection"),
    idleTimeoutSeconds: seconds({ min: 1, max: 86_400 })
      .default(600)
      .describe("A server connection that nobody used for this long is closed"),
  })
  .meta({ id: "pooling", description: "The connection pooler before the database" });
