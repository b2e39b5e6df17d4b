import { z } from "zod";
import { allowedTexts } from "./forms.ts";
import { schedules } from "./schedules.ts";

const { timeZone: _, ...scheduled } = schedules.shape;
/** Every job by name; the section of the schedules has a setting for each. */
const jobNames = Object.keys(scheduled) as (keyof typeof scheduled)[];

function run(meaning: string, defaults: { jobs: (typeof jobNames)[number][]; stopOnFailure: boolean }) {
  return z
    .strictObject({
      jobs: z
        .array(z.enum(jobNames))
        .min(1)
        .max(20)
        .register(allowedTexts, { text: "a list of 1 to 20 names of jobs" })
        .default(defaults.jobs)
        .describe(`${meaning}: these jobs, in this order; a job may stand there twice`),
      stopOnFailure: z
        .boolean()
        .default(defaults.stopOnFailure)
        .describe("Whether a failed job, or a finding that counts, keeps the jobs after it from running"),
      failOn: z
        .enum(["critical", "high", "medium", "low", "never"])
        .default("critical")
        .describe("The command exits with 1 for a finding of the health check this bad or worse"),
    })
    .prefault({});
}

export const runs = z
  .strictObject({
    daily: run("What `pgkeep daily` does", {
      jobs: ["check-health", "back-up", "vacuum", "manage-partitions", "collect-history"],
      stopOnFailure: false,
    }),
    weekly: run("What `pgkeep weekly` does", {
      jobs: [
        "check-health",
        "back-up",
        "vacuum",
        "check-integrity",
        "review-database",
        "drill-restore",
        "check-health",
      ],
      stopOnFailure: false,
    }),
    "pre-deploy": run("What `pgkeep pre-deploy` does before a release", {
      jobs: ["check-health", "back-up"],
      stopOnFailure: true,
    }),
    "post-deploy": run("What `pgkeep post-deploy` does after a release", {
      jobs: ["vacuum", "check-health"],
      stopOnFailure: false,
    }),
  })
  .meta({ id: "runs", description: "Several jobs as one command" });
