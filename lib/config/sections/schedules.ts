import { z } from "zod";
import { allowedTexts, cron } from "./forms.ts";

export const schedules = z
  .strictObject({
    timeZone: z
      .string()
      .refine(isTimeZone)
      .register(allowedTexts, { text: "an IANA time zone such as Europe/Berlin" })
      .default("UTC")
      .describe("Time zone of the cron fields below"),
    "check-health": cron.optional().describe("When the health check runs; by default each minute"),
    "route-replicas": cron
      .optional()
      .describe("When the routing document is published; by default each minute"),
    "check-recovery": cron
      .optional()
      .describe("When it is measured what a restore would lose; by default every five minutes"),
    "back-up": cron.optional().describe("When a backup is taken and old ones are pruned; by default daily"),
    "drill-restore": cron.optional().describe("When the restore drill runs; by default monthly"),
    "collect-history": cron
      .optional()
      .describe("When sizes, counters and statements are noted for forecasts; by default daily"),
    "manage-partitions": cron
      .optional()
      .describe("When partitions are made ahead and old ones retired; by default daily"),
    "check-integrity": cron
      .optional()
      .describe("When damage and orphaned rows are looked for; by default weekly"),
    "review-database": cron
      .optional()
      .describe("When schema, queries, security and settings are reviewed; by default weekly"),
    reindex: cron.optional().describe("When bloated and invalid indexes are rebuilt; by default monthly"),
    vacuum: cron.optional().describe("When tables are vacuumed by need; by default daily"),
  })
  .meta({ id: "schedules", description: "When each job runs: five cron fields, or off" });

function isTimeZone(name: string): boolean {
  try {
    new Intl.DateTimeFormat("en", { timeZone: name });
    return true;
  } catch {
    return false;
  }
}
