import { mkdir, readFile, writeFile } from "node:fs/promises";
import { renderCheckReference } from "../lib/cli/check-reference.ts";
import { withMeasureReference } from "../lib/cli/measure-reference.ts";
import { renderJsonSchema } from "../lib/config/json-schema.ts";
import { renderConfigurationReference } from "../lib/config/reference.ts";
import { renderAlarmReference } from "../lib/constructs/alarm-reference.ts";

const docs = new URL("../docs/", import.meta.url);
await mkdir(docs, { recursive: true });
await writeFile(new URL("configuration.md", docs), renderConfigurationReference());
await writeFile(new URL("pgkeep.schema.json", docs), renderJsonSchema());
await writeFile(new URL("alarms.md", docs), renderAlarmReference());
await writeFile(new URL("checks.md", docs), renderCheckReference());
const verification = new URL("verification.md", docs);
await writeFile(verification, withMeasureReference(await readFile(verification, "utf8")));
