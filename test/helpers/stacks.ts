import { readFileSync } from "node:fs";
import { join } from "node:path";
import { App } from "aws-cdk-lib";
import { Template } from "aws-cdk-lib/assertions";
import { Code } from "aws-cdk-lib/aws-lambda";
import { parseConfig } from "../../lib/config/load.ts";
import { packageRoot } from "../../lib/package-root.ts";
import { AccessStack } from "../../lib/stacks/access.ts";
import { DatabaseStack } from "../../lib/stacks/database.ts";
import { NetworkStack } from "../../lib/stacks/network.ts";

/** An app as `cdk synth` makes it, with the context of cdk.json. */
export function testApp(): App {
  const { context } = JSON.parse(readFileSync(join(packageRoot, "cdk.json"), "utf8")) as {
    context: Record<string, unknown>;
  };
  return new App({ context, analyticsReporting: false });
}

/** Network, database and access of the first database of a configuration's text, not yet synthesized. */
export function foundationStacks(text = "", app = testApp()) {
  const config = parseConfig(text, "pgkeep.yaml");
  const [first] = config.databases;
  if (first === undefined) throw new Error("the configuration has no database");
  const network = new NetworkStack(app, "Network", { config });
  const database = new DatabaseStack(app, "Database", { config: first, network: network.network });
  const code = Code.fromInline("exports.handler = async () => ({});");
  const access = new AccessStack(app, "Access", {
    platform: database.platform,
    code: { bootstrap: code, rotate: code },
  });
  return { app, config: first, network, database, access };
}

export interface FoundationTemplates {
  network: Template;
  database: Template;
  access: Template;
  stacks: ReturnType<typeof foundationStacks>;
}

const synthesized = new Map<string, FoundationTemplates>();

/** Their templates; each text is synthesized once for a test file. */
export function foundationTemplates(text = ""): FoundationTemplates {
  const known = synthesized.get(text);
  if (known !== undefined) return known;
  const stacks = foundationStacks(text);
  const made = {
    network: Template.fromStack(stacks.network),
    database: Template.fromStack(stacks.database),
    access: Template.fromStack(stacks.access),
    stacks,
  };
  synthesized.set(text, made);
  return made;
}

export interface TemplateResource {
  Type: string;
  Properties: Record<string, unknown>;
  DeletionPolicy?: string;
  UpdateReplacePolicy?: string;
  DependsOn?: string[];
}

/** Resources of one type. */
export function resourcesOf(template: Template, type: string): TemplateResource[] {
  return Object.values(template.findResources(type)) as unknown as TemplateResource[];
}

/** The one resource of a type. */
export function onlyResource(template: Template, type: string): TemplateResource {
  const [only, ...others] = resourcesOf(template, type);
  if (only === undefined || others.length > 0) {
    throw new Error(`${only === undefined ? 0 : others.length + 1} resources of ${type}`);
  }
  return only;
}

/** What the code throws; the test fails when it throws nothing. */
export function thrownBy(code: () => unknown): unknown {
  try {
    code();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was thrown");
}
