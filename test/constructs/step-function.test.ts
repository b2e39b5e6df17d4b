import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type DatabaseConfig, databaseConfigSchema } from "../../lib/config/schema.ts";
import type { Suppression } from "../../lib/config/suppressions.ts";
import { jobNamed, jobs } from "../../lib/jobs/index.ts";
import { MaintenanceStack } from "../../lib/stacks/maintenance.ts";
import { makePlatform, markedGrants } from "../helpers/platform.ts";

const known: Suppression = { key: "duplicate-indexes/public.*", reason: "known", expires: "2999-12-31" };
const { review } = databaseConfigSchema.parse({ review: { suppressions: "accepted.yaml" } });

interface Template {
  Resources: Record<
    string,
    { Type: string; Properties: { FunctionName: string; Code: { S3Key: string }; Environment: unknown } }
  >;
}

/** The functions of two jobs, with the directory of each one's code. */
function synthesize(config: Partial<DatabaseConfig>) {
  const { app, platform } = makePlatform(config);
  new MaintenanceStack(app, "maintenance", {
    platform,
    jobs: [jobNamed("check-health"), jobNamed("review-database")],
    grants: markedGrants,
  });
  const assembly = app.synth();
  const template = assembly.getStackByName("maintenance").template as Template;
  const functions = Object.values(template.Resources).filter(({ Type }) => Type === "AWS::Lambda::Function");
  const codeOf = (job: string) => {
    const found = functions.find(({ Properties }) => Properties.FunctionName === `pgkeep-shop-${job}`);
    if (found === undefined) throw new Error(`no function of ${job}`);
    const { Code, Environment } = found.Properties;
    const directory = join(assembly.directory, `asset.${Code.S3Key.replace(".zip", "")}`);
    const file = join(directory, "suppressions.json");
    return {
      key: Code.S3Key,
      environment: JSON.stringify(Environment),
      suppressions: existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as unknown) : undefined,
    };
  };
  return { health: codeOf("check-health"), review: codeOf("review-database") };
}

describe("what the file of review.suppressions has", () => {
  it("is beside the code of the function that reads it, of no other, and in no environment", () => {
    const made = synthesize({ review, suppressions: [known] });
    expect(made.review.suppressions).toEqual([known]);
    expect(made.health.suppressions).toBeUndefined();
    for (const { environment } of Object.values(made)) expect(environment).not.toContain("duplicate-indexes");
    expect(
      jobs.flatMap((job) => job.steps.filter((step) => step.readsSuppressions).map(() => job.name)),
    ).toEqual(["review-database"]);
  });

  it("changes that function when it changes, and only that one", () => {
    const before = synthesize({ review, suppressions: [known] });
    const same = synthesize({ review, suppressions: [{ ...known }] });
    const after = synthesize({ review, suppressions: [{ ...known, expires: "2999-12-30" }] });
    const without = synthesize({});
    expect(same).toEqual(before);
    expect(after.review.key).not.toBe(before.review.key);
    expect(after.health).toEqual(before.health);
    expect(after.review.environment).toBe(before.review.environment);
    expect(without.review.suppressions).toBeUndefined();
    expect(without.health.key).toBe(before.health.key);
  });

  it("is missed at synthesis when the configuration was not loaded from its file", () => {
    expect(() => synthesize({ review })).toThrow(
      "shop: review.suppressions: the content of accepted.yaml did not come with the configuration",
    );
  });
});
