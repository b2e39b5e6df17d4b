import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type App, Validations } from "aws-cdk-lib";
import type { CloudAssembly } from "aws-cdk-lib/cx-api";
import { AwsSolutionsChecks } from "cdk-nag";
import { afterAll } from "vitest";
import { parseConfig } from "../../lib/config/load.ts";
import { packageRoot } from "../../lib/package-root.ts";
import { buildApp } from "../../lib/stacks/app.ts";

/** Configurations that every synthesis test goes through, by name. */
export const configurations = {
  minimal: "",
  instance: "database: { name: shop }",
  "multi-az-cluster": "database: { name: shop, topology: multi-az-cluster }",
  aurora: "database: { name: shop, topology: aurora }",
  "aurora serverless": "database: { name: shop, topology: aurora, instanceClass: serverless }",
  "no replicas, no pooler":
    "{ database: { name: shop }, replicas: { count: 0 }, pooling: { enabled: false } }",
  "two databases": `
    databases:
      shop: {}
      reports: { database: { topology: aurora }, replicas: { count: 1 } }
    notifications: { page: [on-call@example.com], ticket: [database-team@example.com] }`,
  "restored instance": `
    database:
      name: shop
      insights: advanced
      restoreFrom:
        resourceId: db-ABCDEFGHIJKLMNOPQRSTUVWXYZ
        time: 2026-01-02T03:04:05Z
        kmsKeyArn: arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab`,
  "restored instance, from a snapshot": `
    database:
      name: shop
      insights: off
      restoreFrom:
        snapshotId: pgkeep-shop-20260102
        kmsKeyArn: arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab`,
  "restored Multi-AZ cluster": `
    database:
      { name: shop, topology: multi-az-cluster, insights: advanced, restoreFrom: { snapshotId: pgkeep-shop-20260102 } }`,
  "restored Aurora": `
    database:
      name: shop
      topology: aurora
      insights: advanced
      restoreFrom: { resourceId: cluster-ABCDEFGHIJKLMNOPQRSTUVWXYZ, latest: true }`,
  "two regions": `
    database: { name: shop }
    account: { region: eu-west-1 }
    backups: { replicateToRegion: eu-central-1 }
    replicas: { disasterRecovery: { region: eu-central-1, instanceClass: r7g.large } }`,
  "two regions, promoted": `
    database: { name: shop }
    account: { region: eu-west-1 }
    replicas:
      disasterRecovery:
        region: us-east-1
        promoted: true
        existingVpcId: vpc-0123456789abcdef0
        existingSubnetIds: [subnet-0123456789abcdef0, subnet-0123456789abcdef1]`,
  "files and cache": `
    database: { name: shop }
    replicas: { count: 0 }
    files:
      enabled: true
      exports: { infrequentAccessAfterDays: 30, archiveAfterDays: 90, expireAfterDays: 400 }
      objectLock: { mode: governance, days: 35 }
      corsOrigins: [https://shop.example.com]
    cache: { enabled: true }
    logicalBackups:
      kmsKey: arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab
      task: { enabled: true }`,
  "existing VPC": `
    database: { name: shop }
    network:
      existingVpcId: vpc-0123456789abcdef0
      existingSubnetIds: [subnet-0123456789abcdef0, subnet-0123456789abcdef1, subnet-0123456789abcdef2]`,
} as const satisfies Record<string, string>;

export type ConfigurationName = keyof typeof configurations;
export const configurationNames = Object.keys(configurations) as ConfigurationName[];

/** The context that `npx cdk synth` runs with. */
export function cdkContext(): Record<string, unknown> {
  const { context } = JSON.parse(readFileSync(join(packageRoot, "cdk.json"), "utf8")) as {
    context: Record<string, unknown>;
  };
  return context;
}

export interface CloudResource {
  Type: string;
  Properties?: Record<string, unknown>;
  DeletionPolicy?: string;
  UpdateReplacePolicy?: string;
  DependsOn?: string | string[];
  Metadata?: Record<string, unknown>;
}

export interface CloudTemplate {
  Resources: Record<string, CloudResource>;
  Outputs?: Record<string, unknown>;
  Parameters?: Record<string, unknown>;
  Conditions?: Record<string, unknown>;
}

/** One resource of a synthesized app, and where it stands. */
export interface PlacedResource extends CloudResource {
  stack: string;
  logicalId: string;
}

export interface Violation {
  plugin: string;
  rule: string;
  severity: string;
  places: string[];
  description: string;
}

export interface Synthesized {
  app: App;
  assembly: CloudAssembly;
  directory: string;
  /** By stack name. */
  templates: Record<string, CloudTemplate>;
  resources: PlacedResource[];
  /** What the bundled validator (and cdk-nag, when asked) said beyond what is acknowledged. */
  violations: Violation[];
}

export interface SynthOptions {
  /** Bundle the functions too. Without it their assets are as for `cdk list`: of the sources. */
  bundle?: boolean;
  /** Also run cdk-nag's AwsSolutions pack. */
  nag?: boolean;
  /** Puts something more into the app. */
  add?: (app: App) => void;
}

export interface Synthesizer {
  /** The cloud assembly of a configuration's text, as `npx cdk synth` makes it. */
  text(text: string, options?: SynthOptions): Synthesized;
  /** One of `configurations`, made once for the test file, with cdk-nag when `useSynthesizer` was told so. */
  named(name: ConfigurationName): Synthesized;
}

/** Call at the top level of a test file: what is synthesized is removed after its last test. */
export function useSynthesizer(always: Pick<SynthOptions, "nag"> = {}): Synthesizer {
  const directories: string[] = [];
  const made = new Map<ConfigurationName, Synthesized>();
  afterAll(() => {
    for (const directory of directories) rmSync(directory, { recursive: true, force: true });
  });
  const text = (given: string, options: SynthOptions = {}): Synthesized => {
    const directory = mkdtempSync(join(tmpdir(), "pgkeep-synth-"));
    directories.push(directory);
    const app = buildApp(parseConfig(given, "pgkeep.yaml"), {
      outdir: directory,
      // Findings are read from the report: the message of a failed synthesis names no rule.
      context: {
        ...cdkContext(),
        "@aws-cdk/core:failSynthOnValidationErrors": false,
        ...(options.bundle === true ? {} : { "aws:cdk:bundling-stacks": [] }),
      },
    });
    options.add?.(app);
    if (options.nag === true) Validations.of(app).addPlugins(new AwsSolutionsChecks(app));
    return read(app, app.synth(), directory);
  };
  const named = (name: ConfigurationName): Synthesized => {
    const known = made.get(name) ?? text(configurations[name], always);
    made.set(name, known);
    return known;
  };
  return { text, named };
}

function read(app: App, assembly: CloudAssembly, directory: string): Synthesized {
  const templates = Object.fromEntries(
    assembly.stacks.map((stack) => [stack.stackName, stack.template as CloudTemplate]),
  );
  const resources = Object.entries(templates).flatMap(([stack, template]) =>
    Object.entries(template.Resources).map(([logicalId, resource]) => ({ ...resource, stack, logicalId })),
  );
  return { app, assembly, directory, templates, resources, violations: readViolations(directory) };
}

interface ReportedViolation {
  ruleName: string;
  description?: string;
  severity?: string;
  violatingConstructs?: { constructPath?: string; cloudFormationResource?: { logicalId?: string } }[];
}

function readViolations(directory: string): Violation[] {
  const report = JSON.parse(readFileSync(join(directory, "validation-report.json"), "utf8")) as {
    pluginReports: { pluginName: string; violations: ReportedViolation[] }[];
  };
  return report.pluginReports.flatMap(({ pluginName, violations }) =>
    violations.map((violation) => ({
      plugin: pluginName,
      rule: violation.ruleName,
      severity: violation.severity ?? "",
      places: (violation.violatingConstructs ?? []).map((place) => place.constructPath ?? "?"),
      description: violation.description ?? "",
    })),
  );
}

/** File names of an assembly's templates. */
export function templateFiles(directory: string): string[] {
  return readdirSync(directory)
    .filter((name) => name.endsWith(".template.json"))
    .toSorted()
    .map((name) => join(directory, name));
}
