import { z } from "zod";
import { form, seconds, timeOfDay, weekday } from "./forms.ts";

export const maintenance = z
  .strictObject({
    window: form(
      new RegExp(`^${weekday}:${timeOfDay}-${weekday}:${timeOfDay}$`),
      "a UTC window such as sun:04:00-sun:05:00",
    )
      .default("sun:04:00-sun:05:00")
      .describe("AWS's maintenance window, UTC"),
    vacuum: z
      .strictObject({
        budgetSeconds: seconds({ min: 1, max: 86_400 })
          .default(600)
          .describe("Time for one run; no table is started that would not fit"),
        lockTimeoutSeconds: seconds({ min: 1, max: 60 })
          .default(2)
          .describe("A table whose lock does not come within this time is skipped, and said so"),
        threshold: z
          .number()
          .min(0.05)
          .max(10)
          .default(0.8)
          .describe("A table is due when a counter reaches this share of its own autovacuum trigger"),
      })
      .prefault({}),
  })
  .meta({ id: "maintenance", description: "Vacuuming, and when AWS may work on the database" });
