import { Stack } from "aws-cdk-lib";
import { Template } from "aws-cdk-lib/assertions";
import * as lambda from "aws-cdk-lib/aws-lambda";
import { describe, expect, it } from "vitest";
import { grants } from "../../lib/aws/grants.ts";
import { functionEnvironment, toldResources } from "../../lib/constructs/function-environment.ts";
import { jobs } from "../../lib/jobs/index.ts";
import { MaintenanceStack } from "../../lib/stacks/maintenance.ts";
import { makePlatform } from "../helpers/platform.ts";
import { foundationStacks } from "../helpers/stacks.ts";

const longKey = "customers-of-the-whole-company-and-more";

/** The text of a value that is not known before it is deployed, as long as AWS makes it. */
function deployed(value: unknown): string {
  if (typeof value === "string") return value;
  const {
    "Fn::Join": join,
    "Fn::GetAtt": attribute,
    Ref,
    "Fn::ImportValue": imported,
  } = value as Record<string, unknown> & { "Fn::Join"?: [string, unknown[]]; "Fn::GetAtt"?: string[] };
  if (join !== undefined) return join[1].map(deployed).join(join[0]);
  const name = String(imported ?? attribute?.join(".") ?? Ref);
  if (name === "AWS::Region") return "ap-northeast-1";
  if (name === "AWS::AccountId") return "123456789012";
  if (name === "AWS::Partition") return "aws-us-gov";
  if (/Address/.test(name))
    return `pgkeep-${longKey}-replica-15.abcdefghijkl.ap-northeast-1.rds.amazonaws.com`;
  if (/Port/.test(name)) return "5432";
  if (/ResourceId/.test(name)) return `db-${"R".repeat(26)}`;
  if (/Arn/.test(name)) return `arn:aws-us-gov:kms:ap-northeast-1:123456789012:key/${"k".repeat(36)}`;
  return "x".repeat(40);
}

describe("the environment of functions", () => {
  it("fits with 15 replicas and long names, into each function that there is", () => {
    const text = `databases: { ${longKey}: { database: { name: ${"d".repeat(60)} }, replicas: { count: 15 }, backups: { copyToRegions: [eu-central-1, us-east-1] } } }
account: { region: ap-northeast-1 }`;
    const { app, database, access } = foundationStacks(text);
    const maintenance = new MaintenanceStack(app, "Maintenance", {
      platform: database.platform,
      jobs,
      codeFor: () => lambda.Code.fromInline("exports.handler = async () => ({})"),
      grants,
    });
    const sizes = [maintenance, access].flatMap((stack) =>
      Object.values(Template.fromStack(stack).findResources("AWS::Lambda::Function")).flatMap((found) => {
        const { Environment, FunctionName } = found.Properties as {
          FunctionName?: string;
          Environment?: { Variables: Record<string, unknown> };
        };
        if (FunctionName === undefined) return [];
        const variables = Object.entries(Environment?.Variables ?? {});
        return [
          {
            FunctionName,
            bytes: variables.reduce((sum, [name, value]) => sum + name.length + deployed(value).length, 0),
          },
        ];
      }),
    );
    expect(sizes.length).toBeGreaterThan(jobs.length);
    for (const { FunctionName, bytes } of sizes) expect(bytes, FunctionName).toBeLessThanOrEqual(4_096);
    // All of the platform for everybody would not have fitted.
    const whole = deployed(
      Stack.of(maintenance).resolve(Stack.of(maintenance).toJsonString(database.platform.resources)),
    );
    expect(whole.length).toBeGreaterThan(4_096);
  });

  it("tells a step of the replicas only when it needs them", () => {
    const { platform } = makePlatform();
    expect(toldResources(platform.resources, ["primary"]).replicas).toEqual([]);
    const probing = toldResources(platform.resources, ["primary", "replicas"]);
    expect(probing.replicas).toEqual([
      { name: "replica-1", host: "replica-1.example.com", port: 5432 },
      { name: "replica-2", host: "replica-2.example.com", port: 5432 },
    ]);
    expect(probing).not.toHaveProperty("kmsKeyArn");
  });

  it("refuses at synthesis what Lambda would refuse when it is deployed, with path, reason and remedy", () => {
    const { app, platform } = makePlatform();
    const scope = new Stack(app, "somewhere");
    const make = (config: string, needs: ("primary" | "replicas")[] = ["primary"]) =>
      functionEnvironment(scope, platform, { functionName: "pgkeep-shop-x", needs, config, more: {} });
    expect(() => make("c".repeat(2_000))).not.toThrow();
    expect(() => make("c".repeat(3_500))).toThrow(
      expect.objectContaining({
        code: "configuration",
        message: expect.stringMatching(
          /^shop: databases: the function pgkeep-shop-x would be told 4\d{3} bytes.* takes 4096$/,
        ),
        remedy: expect.stringContaining("differs from the defaults"),
      }),
    );
    const many = Array.from({ length: 40 }, (_, n) => ({
      name: `replica-${n}`,
      host: "h".repeat(100),
      port: 5432,
      identifier: "",
    }));
    const crowded = { ...platform, resources: { ...platform.resources, replicas: many } };
    expect(() =>
      functionEnvironment(scope, crowded, { functionName: "f", needs: ["replicas"], config: "{}", more: {} }),
    ).toThrow(/^shop: replicas.count: /);
  });
});
