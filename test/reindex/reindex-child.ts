import { reindex } from "../../lib/jobs/reindex.ts";
import { runJob } from "../../lib/jobs/runner.ts";
import type { ConnectionTarget } from "../../lib/postgres/connect.ts";
import { configFor } from "../helpers/config.ts";
import { portsFor } from "../helpers/ports.ts";

// A process of its own that runs the job, for the tests that kill it: `reindex-child.ts TARGET ARGUMENTS`, both JSON.
const [target, given] = process.argv.slice(2);
if (target === undefined || given === undefined) throw new Error("no target or no arguments given");
const login = JSON.parse(target) as ConnectionTarget;
process.stdout.write("ready\n");
const result = await runJob(reindex, {
  ports: portsFor(login),
  config: configFor(login.database, { maintenance: { reindex: { oldTransactionSeconds: 2 } } }),
  arguments: JSON.parse(given) as unknown,
  onProgress: (message) => process.stdout.write(`${message}\n`),
});
process.stdout.write(`${result.outcome}\n`);
