import { App } from "aws-cdk-lib";
import { loadConfig } from "../lib/config/load.ts";
import { errorMessage, PgkeepError, UsageError } from "../lib/errors.ts";
import { addStacks } from "../lib/stacks/app.ts";

// Synthesized only once everything is in it: an error leaves no half of a platform behind.
const app = new App({ autoSynth: false });
try {
  const file: unknown = app.node.tryGetContext("config");
  if (file !== undefined && typeof file !== "string") {
    throw new UsageError("the context `config` is not a file's name", { remedy: "give -c config=FILE" });
  }
  addStacks(app, await loadConfig(file));
  app.synth();
} catch (error) {
  if (!(error instanceof PgkeepError)) throw error;
  const remedy = error.remedy === undefined ? "" : `\n${error.remedy}`;
  process.stderr.write(`${errorMessage(error)}${remedy}\n`);
  process.exitCode = error instanceof UsageError ? 2 : 3;
}
