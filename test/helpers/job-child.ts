import type { Job } from "../../lib/jobs/job.ts";
import { runJob } from "../../lib/jobs/runner.ts";
import type { ConnectionTarget } from "../../lib/postgres/connect.ts";
import { configFor } from "./config.ts";
import { portsFor } from "./ports.ts";

// A process of its own that runs a job, for the tests that kill it: `job-child.ts JOB TARGET SECTIONS`, the last two JSON.
const [name, target, sections] = process.argv.slice(2) as [string, string, string];
// Not the list of all jobs, which takes longer to load than some of them run.
const exported = (await import(`../../lib/jobs/${name}.ts`)) as Record<string, unknown>;
const job = Object.values(exported).find(
  (value): value is Job =>
    typeof value === "object" && value !== null && "name" in value && value.name === name,
);
if (job === undefined) throw new Error(`no job ${name}`);
const login = JSON.parse(target) as ConnectionTarget;
const result = await runJob(job, {
  ports: portsFor(login),
  config: configFor(login.database, JSON.parse(sections) as Record<string, unknown>),
  onProgress: (message) => process.stdout.write(`${message}\n`),
});
process.stdout.write(`${result.outcome}\n`);
