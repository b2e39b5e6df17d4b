import { readFileSync } from "node:fs";
import { join } from "node:path";
import { App } from "aws-cdk-lib";
import type { Template } from "aws-cdk-lib/assertions";
import { parseConfig } from "../../lib/config/load.ts";
import { packageRoot } from "../../lib/package-root.ts";
import { DatabaseStack } from "../../lib/stacks/database.ts";
import { NetworkStack } from "../../lib/stacks/network.ts";

/** An app as `cdk synth` makes it, with the context of cdk.json. */
export function testApp(): App {
  const { context } = JSON.parse(readFileSync(join(packageRoot, "cdk.json"), "utf8")) as {
    context: Record<string, unknown>;
  };
  return new App({ context, analyticsReporting: false });
}

/** Network and database of the first database of a configuration's text, not yet synthesized. */
export function databaseStacks(text = "", app = testApp()) {
  const config = parseConfig(text, "pgkeep.yaml");
  const [first] = config.databases;
  if (first === undefined) throw new Error("the configuration has no database");
  const network = new NetworkStack(app, "Network", { config });
  const database = new DatabaseStack(app, "Database", { config: first, network: network.network });
  return { app, config: first, network, database };
}

export interface TemplateResource {
  Type: string;
  Properties: Record<string, unknown>;
  DeletionPolicy?: string;
  UpdateReplacePolicy?: string;
  DependsOn?: string[];
}

/** Resources of one type, by logical id. */
export function resourcesOf(template: Template, type: string): TemplateResource[] {
  return Object.values(template.findResources(type)) as TemplateResource[];
}

/** The one resource of a type. */
export function onlyResource(template: Template, type: string): TemplateResource {
  const [only, ...others] = resourcesOf(template, type);
  if (only === undefined || others.length > 0) throw new Error(`${others.length + 1} resources of ${type}`);
  return only;
}
