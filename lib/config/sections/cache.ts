import { z } from "zod";
import { form, percent, seconds, timeOfDay, weekday, whole } from "./forms.ts";

export const cache = z
  .strictObject({
    enabled: z
      .boolean()
      .default(false)
      .describe("Whether there is an ElastiCache for Valkey beside the database"),
    engineVersion: z
      .preprocess(
        (given) => (typeof given === "number" ? given.toFixed(1) : given),
        z.enum(["7.2", "8.0", "8.1", "8.2"]),
      )
      .default("8.1")
      .describe("Version of Valkey; patches follow by themselves"),
    nodeType: form(
      /^[tmrc]\d+(?:g|gn)?\.(?:micro|small|medium|large|\d*xlarge)$/,
      "a node type without cache., such as m7g.large",
    )
      .default("m7g.large")
      .describe("ElastiCache node type without the cache. prefix"),
    replicas: whole(0, 5)
      .default(1)
      .describe("Replicas in other zones, one of which takes over when the primary fails; 0 for none"),
    maxMemoryPolicy: z
      .enum([
        "allkeys-lru",
        "allkeys-lfu",
        "allkeys-random",
        "volatile-lru",
        "volatile-lfu",
        "volatile-random",
        "volatile-ttl",
        "noeviction",
      ])
      .default("allkeys-lru")
      .describe(
        "What gives way when memory is full: any key, only keys with a time to live, or nothing, so that writes fail",
      ),
    snapshotRetentionDays: whole(0, 35)
      .default(1)
      .describe("How long daily snapshots are kept; 0 for none, and no final one either"),
    snapshotWindow: form(new RegExp(`^${timeOfDay}-${timeOfDay}$`), "a UTC window such as 05:00-06:00")
      .default("05:00-06:00")
      .describe("When the daily snapshot is taken, UTC"),
    maintenanceWindow: form(
      new RegExp(`^${weekday}:${timeOfDay}-${weekday}:${timeOfDay}$`),
      "a UTC window such as sun:06:00-sun:07:00",
    )
      .default("sun:06:00-sun:07:00")
      .describe("AWS's maintenance window of the cache, UTC"),
    limits: z
      .strictObject({
        cpuPercent: percent.default(90).describe("CPU use of a node's engine from which a page is sent"),
        memoryPercent: percent
          .default(90)
          .describe("Memory use of a node from which a page is sent, unless any key may give way"),
        evictionsPerMinute: whole(0, 100_000_000)
          .default(1000)
          .describe("Keys that give way in a minute, above which a ticket is written"),
        connections: whole(1, 65_000)
          .default(52_000)
          .describe("Connections to a node from which a ticket is written; ElastiCache admits 65,000"),
        replicaLagSeconds: seconds({ min: 1, max: 86_400 })
          .default(10)
          .describe("Lag of a replica above which a ticket is written"),
        authenticationFailures: whole(0, 1_000_000)
          .default(10)
          .describe("Refused logins in five minutes above which a ticket is written"),
      })
      .prefault({}),
  })
  .meta({ id: "cache", description: "An optional Redis-compatible cache: ElastiCache for Valkey" });
