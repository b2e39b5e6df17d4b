import { Cron } from "croner";
import { describe, expect, it } from "vitest";
import { perDatabaseSections } from "../../lib/config/schema.ts";
import { jobs } from "../../lib/jobs/index.ts";

describe("the list of jobs", () => {
  it("has one name for each, and a schedule that can be overridden in the configuration", () => {
    const names = jobs.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    const { timeZone: _, ...schedules } = perDatabaseSections.schedules.shape;
    expect(Object.keys(schedules).sort()).toEqual([...names].sort());
  });

  it.each(jobs)("$name runs some time, has steps, and cleans up last", (job) => {
    expect(new Cron(job.schedule).nextRun()).toBeInstanceOf(Date);
    expect(job.summary).not.toBe("");
    const clean = job.steps.findIndex(({ always }) => always);
    expect(job.steps.length).toBeGreaterThan(0);
    if (clean >= 0) expect(job.steps.slice(clean).every(({ always }) => always)).toBe(true);
  });

  it.each(jobs)(
    "$name keeps its database steps away from the control plane's ports, and the other way round",
    (job) => {
      for (const { where, needs } of job.steps) {
        const controlPlane = needs.filter((need) => need === "backups" || need === "routing");
        expect(
          where === "database"
            ? controlPlane
            : needs.filter((need) => need !== "backups" && need !== "routing"),
        ).toEqual([]);
      }
    },
  );
});
