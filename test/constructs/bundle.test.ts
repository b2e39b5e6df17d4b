import { X509Certificate } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { rdsCertificates } from "../../lib/aws/rds-certificates.ts";
import { beyondDefaults } from "../../lib/config/beyond-defaults.ts";
import { type Bundle, bundleFunction, bundleStep } from "../../lib/constructs/bundle.ts";
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
  it.each(databaseSteps)("of the database step $name is at most 1 MB, and has no AWS SDK", ({ name }) => {
    expect(bundleOf(name).bytes).toBeLessThan(1_000_000);
    expect(packagesOf(name)).toContain("pg");
    expect(packagesOf(name).filter((name) => /^@aws-sdk|^@smithy|^aws-xray/.test(name))).toEqual([]);
  });

  it.each(controlPlaneSteps)("of the control-plane step $name cannot speak to PostgreSQL", ({ name }) => {
    expect(bundleOf(name).bytes).toBeLessThan(1_500_000);
    expect(packagesOf(name)).not.toContain("pg");
  });

  it.each(steps)("of $name has its own job and no other, and nothing of the sandbox, CLI or CDK", (one) => {
    const { inputs } = bundleOf(one.name);
    const others = jobs.filter(({ name }) => name !== one.job.name).map(({ name }) => `lib/jobs/${name}.ts`);
    expect(inputs.filter((input) => others.includes(input))).toEqual([]);
    expect(inputs.filter((input) => /^lib\/(sandbox|cli|stacks|constructs|url)\//.test(input))).toEqual([]);
  });

  it("is the same, byte for byte, wherever and whenever it is made", () => {
    const { job, step } = steps[0] as (typeof steps)[number];
    const again = join(directory.path, "elsewhere", "again");
    bundleStep(job, step, again);
    expect(filesIn(again)).toEqual(filesIn(join(directory.path, steps[0]?.name ?? "")));
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

describe.skipIf(whyNoLambda !== undefined)("each bundle starts on Lambda's Node", () => {
  const environment = {
    PGKEEP_RESOURCES: JSON.stringify(functionResources("shop", { port: 1 })),
    PGKEEP_CONFIG: beyondDefaults(configFor("shop")),
  };

  it.each(steps)("$name", async ({ name }) => {
    const started = await startFunction(join(directory.path, name), environment);
    try {
      await started.ready;
    } finally {
      await started.stop();
    }
  });

  it.each(["bootstrap", "rotate"] as const)("%s", async (name) => {
    bundleFunction(name, join(directory.path, name));
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
});

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
