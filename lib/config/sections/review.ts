import { z } from "zod";
import { seconds, whole } from "./forms.ts";

export const review = z
  .strictObject({
    budgetSeconds: seconds({ min: 1, max: 600 })
      .default(120)
      .describe("Time for one run of review-database; checks that do not fit are not assessable"),
    keepReports: whole(1, 520)
      .default(26)
      .describe("Reports of review-database that are kept in the database; the newest is compared with"),
    suppressions: z
      .string()
      .min(1)
      .optional()
      .describe(
        "File of findings that no review shall count, neither the command nor the job, each with a reason and a last day (docs/review.md); a relative name counts from the configuration's file",
      ),
  })
  .meta({ id: "review", description: "The review, as a job and as a command" });
