import { openTask } from "../lib/aws/task.ts";
import { errorMessage } from "../lib/errors.ts";

/** `pgkeep` as the image of a task on AWS runs it: the database and the settings are the deployment's. */
const command = process.argv.slice(2, 4).join(" ");
try {
  const { url, configFile } = await openTask(process.env);
  process.env.DATABASE_URL = url;
  process.argv.push("--config", configFile);
  await import("./pgkeep.ts");
  // The metric of lib/constructs/dump-task.ts counts these lines.
  if (process.exitCode === 0) {
    process.stdout.write(`${JSON.stringify({ pgkeepTask: "succeeded", command })}\n`);
  }
} catch (error) {
  process.stderr.write(`pgkeep: ${errorMessage(error)}\n`);
  process.exitCode = 3;
}
