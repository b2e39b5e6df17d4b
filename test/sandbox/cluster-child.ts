import { startCluster } from "../../lib/sandbox/cluster.ts";
import { announceSandbox } from "../../lib/sandbox/state-file.ts";
import { defaultMajor } from "../helpers/majors.ts";

// A process of its own that owns a cluster, for the tests that kill it: `cluster-child.ts PARENT REPLICAS`.
const [parent, replicas] = process.argv.slice(2);
if (parent === undefined) throw new Error("no parent directory given");
process.stdout.write("starting\n");
const { state } = await startCluster({
  major: defaultMajor,
  database: "shop",
  parent,
  replicas: Number(replicas),
});
await announceSandbox(parent, state);
process.stdout.write(`ready ${state.directory}\n`);
setInterval(() => {}, 60_000);
