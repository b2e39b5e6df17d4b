import { execFile } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { promisify } from "node:util";
import { App, Stack } from "aws-cdk-lib";
import * as lambda from "aws-cdk-lib/aws-lambda";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { rdsCertificates } from "../../lib/aws/rds-certificates.ts";
import { beyondDefaults } from "../../lib/config/beyond-defaults.ts";
import {
  type Bundle,
  bundleFunction,
  bundlePager,
  bundleSource,
  bundleStep,
  functionHandler,
  stepCode,
} from "../../lib/constructs/bundle.ts";
import { jobs } from "../../lib/jobs/index.ts";
import { configFor } from "../helpers/config.ts";
import { functionResources } from "../helpers/function-setting.ts";
import { bundleDirectory, startFunction, whyNoLambda } from "../helpers/lambda.ts";

const steps = jobs.flatMap((job) =>
  job.steps.map((step) => ({ name: `${job.name}-${step.name}`, job, step })),
);
const databaseSteps = steps.filter(({ step }) => step.where === "database");
const controlPlaneSteps = steps.filter(({ step }) => step.where === "control-plane");
const bundles = new Map<string, Bundle>();
let directory: Awaited<ReturnType<typeof bundleDirectory>>;

beforeAll(async () => {
  directory = await bundleDirectory();
  for (const { name, job, step } of steps) {
    bundles.set(name, bundleStep(job, step, join(directory.path, name)));
  }
  for (const name of ["bootstrap", "rotate", "look"] as const) {
    bundles.set(name, bundleFunction(name, join(directory.path, name)));
  }
  const config = { key: "shop", database: { name: "shop" }, roles: {} };
  const setting = { config, alarms: [], runbook: "docs/runbook.md" };
  bundles.set("page", bundlePager(setting, join(directory.path, "page")));
});
afterAll(() => directory.remove());

const bundleOf = (name: string) => bundles.get(name) as Bundle;

/** Packages that went in. */
function packagesOf(name: string): string[] {
  const named = bundleOf(name).inputs.flatMap((input) => {
    const path = input.split("node_modules/").at(-1);
    return path === undefined || path === input
      ? []
      : [
          path
            .split("/")
            .slice(0, path[0] === "@" ? 2 : 1)
            .join("/"),
        ];
  });
  return [...new Set(named)];
}

describe("a bundle", () => {
  it.each([...databaseSteps, { name: "look" }])(
    "of $name, which reaches the database, is at most 1 MB, and has no AWS SDK",
    ({ name }) => {
      expect(bundleOf(name).bytes).toBeLessThan(1_000_000);
      expect(packagesOf(name)).toContain("pg");
      expect(packagesOf(name).filter((name) => /^@aws-sdk|^@smithy|^aws-xray/.test(name))).toEqual([]);
    },
  );

  it.each([...controlPlaneSteps, { name: "page" }])(
    "of $name, outside the VPC, cannot speak to PostgreSQL",
    ({ name }) => {
      expect(bundleOf(name).bytes).toBeLessThan(1_500_000);
      expect(packagesOf(name)).not.toContain("pg");
    },
  );

  it.each(steps)("of $name has its own job and no other, and nothing of the sandbox, CLI or CDK", (one) => {
    const { inputs } = bundleOf(one.name);
    const others = jobs.filter(({ name }) => name !== one.job.name).map(({ name }) => `lib/jobs/${name}.ts`);
    expect(inputs.filter((input) => others.includes(input))).toEqual([]);
    expect(inputs.filter((input) => /^lib\/(sandbox|cli|stacks|constructs|url)\//.test(input))).toEqual([]);
  });

  it.each(["bootstrap", "rotate", "look", "page"])("of %s has nothing of the sandbox, CLI or CDK", (name) => {
    const { inputs } = bundleOf(name);
    expect(inputs).toContain(`lambdas/${name}.ts`);
    expect(inputs.filter((input) => /^lib\/(sandbox|cli|stacks|constructs|url)\//.test(input))).toEqual([]);
  });

  it("is the same, byte for byte, wherever and whenever it is made", () => {
    const { job, step } = steps[0] as (typeof steps)[number];
    const again = join(directory.path, "elsewhere", "again");
    bundleStep(job, step, again);
    expect(filesIn(again)).toEqual(filesIn(join(directory.path, steps[0]?.name ?? "")));
  });

  it("has PostgreSQL's parser with its WebAssembly where a check uses it", async () => {
    const path = join(directory.path, "parser");
    const source =
      'import { loadModule, parseSync } from "libpg-query"; await loadModule(); console.log(parseSync("select 1").stmts.length);';
    expect(bundleSource(source, path).bytes).toBeLessThan(200_000);
    const { stdout } = await promisify(execFile)(process.execPath, [join(path, "index.mjs")], {
      cwd: tmpdir(),
    });
    expect(stdout).toBe("1\n");
  });

  it("tells nothing about the machine it was made on", () => {
    for (const [file, text] of Object.entries(filesIn(join(directory.path, "check-health-check")))) {
      expect(text.includes(process.cwd()), file).toBe(false);
    }
  });
});

function filesIn(path: string): Record<string, string> {
  const entries = readdirSync(path, { recursive: true, withFileTypes: true }).filter((entry) =>
    entry.isFile(),
  );
  return Object.fromEntries(
    entries
      .map((entry) => join(entry.parentPath, entry.name))
      .sort()
      .map((file) => [relative(path, file), readFileSync(file, "utf8")]),
  );
}

describe("the code of a function", () => {
  /** Hash of each function's code, by its construct, of an app in its own directory. */
  function synthesize(name: string, context: Record<string, unknown> = {}) {
    const outdir = join(directory.path, name);
    const app = new App({ outdir, context, analyticsReporting: false });
    const [one, other] = steps as [(typeof steps)[number], (typeof steps)[number]];
    const codes = { One: stepCode(one.job, one.step), Again: stepCode(one.job, one.step) };
    const stack = new Stack(app, "stack");
    for (const [id, code] of Object.entries({ ...codes, Other: stepCode(other.job, other.step) })) {
      new lambda.Function(stack, id, { runtime: lambda.Runtime.NODEJS_24_X, handler: functionHandler, code });
    }
    const assembly = app.synth();
    const keys = Object.values(assembly.getStackByName("stack").template.Resources as Resources)
      .filter(({ Type }) => Type === "AWS::Lambda::Function")
      .map(({ Properties }) => Properties.Code?.S3Key ?? "");
    return { assembly: assembly.directory, keys: keys as [string, string, string] };
  }

  it("is bundled into the cloud assembly, once for the same step, and nowhere else", () => {
    const before = readdirSync(tmpdir());
    const { assembly, keys } = synthesize("assembly");
    const [one, again, other] = keys;
    expect(again).toBe(one);
    expect(other).not.toBe(one);
    const bundles = readdirSync(assembly).filter((name) => name.startsWith("asset."));
    expect(bundles.sort()).toEqual([one, other].map((key) => `asset.${key.replace(".zip", "")}`).sort());
    expect(readdirSync(assembly).filter((name) => /bundling|building/.test(name))).toEqual([]);
    const bundle = join(assembly, `asset.${one.replace(".zip", "")}`);
    expect(filesIn(bundle)).toEqual(filesIn(join(directory.path, steps[0]?.name ?? "")));
    expect(readdirSync(tmpdir()).filter((name) => !before.includes(name) && /bundle/.test(name))).toEqual([]);
  });

  it("has the same name in another assembly", () => {
    expect(synthesize("second").keys).toEqual(synthesize("third").keys);
  });

  it("is not bundled for a command that needs no assets", () => {
    const { assembly } = synthesize("listing", { "aws:cdk:bundling-stacks": [] });
    expect(readdirSync(assembly).filter((name) => name.startsWith("asset."))).toEqual([]);
  });
});

/** What this test reads of a template. */
type Resources = Record<string, { Type: string; Properties: { Code?: { S3Key: string } } }>;

describe.skipIf(whyNoLambda !== undefined)(
  `each bundle starts on Lambda's Node${whyNoLambda === undefined ? "" : ` (skipped: ${whyNoLambda})`}`,
  () => {
    const environment = {
      PGKEEP_RESOURCES: JSON.stringify(functionResources("shop", { port: 1 })),
      PGKEEP_CONFIG: beyondDefaults(configFor("shop")),
      PGKEEP_LOOK_FUNCTION: "arn:aws:lambda:eu-central-1:123456789012:function:pgkeep-shop-look",
    };

    it.each(steps)("$name", async ({ name }) => {
      const started = await startFunction(join(directory.path, name), environment);
      try {
        await started.ready;
      } finally {
        await started.stop();
      }
    });

    it.each(["bootstrap", "rotate", "look", "page"])("%s", async (name) => {
      const started = await startFunction(join(directory.path, name), environment);
      try {
        await started.ready;
      } finally {
        await started.stop();
      }
    });

    it("and says which setting is missing", async () => {
      const started = await startFunction(join(directory.path, "check-health-check"));
      await expect(started.ready).rejects.toThrow("the environment variable PGKEEP_CONFIG is missing");
      await started.stop();
    });
  },
);

describe("the certificate authorities that ship with each database step", () => {
  const certificates = (rdsCertificates().match(/-----BEGIN[\s\S]*?-----END CERTIFICATE-----/g) ?? []).map(
    (text) => new X509Certificate(text),
  );
  const names = certificates.map(({ subject }) => /CN=(.*)/.exec(subject)?.[1] ?? "");

  it("are the three of every region that RDS uses today", () => {
    const regions = [...new Set(names.map((name) => name.split(" ")[2] ?? ""))];
    expect(regions.length).toBeGreaterThan(25);
    expect(regions).toEqual(
      expect.arrayContaining(["us-east-1", "eu-central-1", "ap-southeast-2", "sa-east-1"]),
    );
    const expected = regions.flatMap((region) =>
      ["ECC384", "RSA2048", "RSA4096"].map((kind) => `Amazon RDS ${region} Root CA ${kind} G1`),
    );
    expect([...names].sort()).toEqual(expected.sort());
  });

  it("are roots that last", () => {
    for (const certificate of certificates) {
      expect(certificate.ca && certificate.checkIssued(certificate)).toBe(true);
      expect(certificate.verify(certificate.publicKey), certificate.subject).toBe(true);
      expect(new Date(certificate.validTo).getFullYear(), certificate.subject).toBeGreaterThan(2060);
    }
  });
});
