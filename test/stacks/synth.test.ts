import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { CfnResource, Stack } from "aws-cdk-lib";
import { CfnBucket } from "aws-cdk-lib/aws-s3";
import { afterAll, describe, expect, it } from "vitest";
import { packageRoot } from "../../lib/package-root.ts";
import { installCfnLint } from "../helpers/cfn-lint.ts";
import {
  type ConfigurationName,
  configurationNames,
  configurations,
  templateFiles,
  useSynthesizer,
} from "../helpers/synth.ts";

const synthesizer = useSynthesizer({ nag: true });

describe.each(configurationNames)("synthesis of %s", (name) => {
  it("has nothing against it from the bundled validator and cdk-nag's AwsSolutions pack", () => {
    const { violations } = synthesizer.named(name);
    expect(
      violations.map(({ rule, places, description }) => `${rule} at ${places.join(", ")}: ${description}`),
    ).toEqual([]);
  });

  it("keeps each template within what CloudFormation takes", () => {
    const { templates } = synthesizer.named(name);
    expect(Object.keys(templates).length).toBeGreaterThan(0);
    for (const [stack, template] of Object.entries(templates)) {
      expect(Object.keys(template.Resources).length, stack).toBeLessThanOrEqual(500);
      expect(Buffer.byteLength(JSON.stringify(template)), stack).toBeLessThan(1_000_000);
    }
  });
});

describe("the checks of a synthesis", () => {
  it("find what is wrong when something is", () => {
    const { violations } = synthesizer.text(configurations.minimal, {
      nag: true,
      add: (app) => {
        const stack = new Stack(app, "careless");
        new CfnBucket(stack, "Open", { accessControl: "PublicReadWrite" });
        new CfnResource(stack, "Misspelt", { type: "AWS::SQS::Queue", properties: { QueueNaem: "x" } });
      },
    });
    expect([...new Set(violations.map(({ plugin }) => plugin))].length).toBeGreaterThan(1);
    expect(violations.filter(({ rule }) => rule.endsWith("AwsSolutions-S1"))).toHaveLength(1);
    expect(violations.filter(({ places }) => places.some((place) => place.includes("Misspelt")))).not.toEqual(
      [],
    );
  });
});

/**
 * Jobs and alarms are most of each configuration's templates, and of the linter's minutes; those of the others are made
 * by the same code. `PGKEEP_CFN_LINT=all` looks at all of them.
 */
const lintedWhole = new Set<ConfigurationName>([
  "minimal",
  "multi-az-cluster",
  "aurora",
  "no replicas, no pooler",
  "restored instance",
  "two regions",
  "files and cache",
]);

describe("cfn-lint", () => {
  const all = process.env.PGKEEP_CFN_LINT === "all";
  it(`finds nothing in ${all ? "any template" : "one template of each kind"}`, {
    timeout: 600_000,
  }, async (context) => {
    const lint = await installCfnLint();
    if ("missing" in lint) return context.skip(lint.missing);
    const templates = configurationNames.flatMap((name) =>
      templateFiles(synthesizer.named(name).directory).filter(
        (file) => all || lintedWhole.has(name) || !/-(maintenance|observability)\./.test(file),
      ),
    );
    // Stacks that a configuration does not concern are the same as another's.
    const distinct = new Map(templates.map((file) => [readFileSync(file, "utf8"), file]));
    const findings = await lint([...distinct.values()]);
    const lines = findings.map(
      ({ Rule, Filename, Location, Message }) =>
        `${Rule.Id} ${Filename.split("/").at(-1)} ${Location.Path.join("/")}: ${Message}`,
    );
    expect([...new Set(lines)]).toEqual([]);
  });
});

describe("npx cdk synth", () => {
  const directory = mkdtempSync(join(tmpdir(), "pgkeep-cdk-"));
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  /** The command in this checkout, without credentials, a region or a home directory. */
  async function cdkSynth(text: string): Promise<{ code: number; stderr: string; output: string }> {
    const output = mkdtempSync(join(directory, "out-"));
    const file = join(output, "given.yaml");
    writeFileSync(file, text);
    const cdk = join(packageRoot, "node_modules", ".bin", "cdk");
    try {
      const { stderr } = await promisify(execFile)(
        cdk,
        ["synth", "--quiet", "--output", output, "-c", `config=${file}`],
        {
          cwd: packageRoot,
          env: { PATH: process.env.PATH ?? "", HOME: output, AWS_EC2_METADATA_DISABLED: "true", CI: "true" },
        },
      );
      return { code: 0, stderr, output };
    } catch (error) {
      const { code, stderr } = error as { code: number; stderr: string };
      return { code, stderr, output };
    }
  }

  it("writes the same templates as the tests look at", async () => {
    const { code, stderr, output } = await cdkSynth(configurations.instance);
    expect({ code, stderr }).toMatchObject({ code: 0 });
    const names = (path: string) => readdirSync(path).filter((name) => name.endsWith(".template.json"));
    expect(names(output).toSorted()).toEqual(names(synthesizer.named("instance").directory).toSorted());
  });

  it("says every problem of a configuration with its path, the reason and what to do, and makes nothing", async () => {
    const { code, stderr, output } = await cdkSynth(`
database: { name: shop, topology: multi-az-cluster, instanceClass: m6gd.large }
replicas: { count: 5 }
backups: { pointInTimeRecoveryDays: 0 }`);
    expect(code).not.toBe(0);
    expect(stderr).toContain("replicas.count");
    expect(stderr).toContain("backups.pointInTimeRecoveryDays");
    expect(stderr).toContain("correct the file");
    expect(stderr).not.toMatch(/\bat .*\.ts:\d+/);
    expect(readdirSync(output).filter((name) => name.endsWith(".template.json"))).toEqual([]);
  });
});
