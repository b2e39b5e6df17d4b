import { describe, expect, it } from "vitest";
import { checkHealth } from "../../lib/jobs/check-health.ts";
import { jobs } from "../../lib/jobs/index.ts";
import { runJob } from "../../lib/jobs/runner.ts";
import { jobNames, readSuccessAges } from "../../lib/jobs/success-age.ts";
import { portsFor } from "../helpers/ports.ts";
import { useServer } from "../helpers/postgres.ts";
import { installed, password } from "../install/installed.ts";

it("names every job whose runs are recorded on AWS: those with a step that reaches the database", () => {
  const recorded = jobs.filter(({ steps }) => steps.some(({ where }) => where === "database"));
  expect([...jobNames].toSorted()).toEqual(recorded.map(({ name }) => name).toSorted());
});

describe("how long ago a job succeeded", () => {
  const server = useServer();

  it("counts from the last success, from the installation when there is none, and not for a job that is off", async () => {
    const { database, config, names, as } = await installed(server);
    await as(undefined, async (session) => {
      await session.query("update pgkeep.schema_version set applied_at = now() - interval '90 days'");
      await session.query(
        `insert into pgkeep.job_run (id, job, started_at, finished_at, outcome)
         values ('1', 'back-up', now() - interval '3 days', now() - interval '3 days', 'succeeded'),
                ('2', 'back-up', now() - interval '1 day', now() - interval '1 day', 'failed')`,
      );
    });
    const ports = portsFor(server.target(database, { user: names.monitoring, password }));
    const off = { ...config, schedules: { ...config.schedules, vacuum: "off" } };
    await runJob(checkHealth, { ports, config: off });
    const ages = new Map(
      ports.data
        .filter(({ name }) => name === "JobSuccessAge")
        .map(({ dimensions, value }) => [dimensions.Job, value / 86_400]),
    );
    expect([...ages.keys()].toSorted()).toEqual([
      "back-up",
      "check-health",
      "drill-restore",
      "reindex",
      "route-replicas",
    ]);
    expect(ages.get("back-up")).toBeCloseTo(3, 2);
    expect(ages.get("drill-restore")).toBeCloseTo(90, 2);
  });

  it("is unknown without the schema", async () => {
    const session = await server.connect(await server.createDatabase());
    const { config } = await installed(server);
    expect(await readSuccessAges(session, config)).toEqual([]);
    await session.close();
  });
});
