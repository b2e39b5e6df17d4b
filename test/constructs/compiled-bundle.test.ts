import { execFile } from "node:child_process";
import { cp, mkdir, symlink } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { beyondDefaults } from "../../lib/config/beyond-defaults.ts";
import { packageRoot } from "../../lib/package-root.ts";
import { configFor } from "../helpers/config.ts";
import { functionResources } from "../helpers/function-setting.ts";
import { bundleDirectory, startFunction, whyNoLambda } from "../helpers/lambda.ts";

const run = promisify(execFile);

/** What another team's CDK app does with the package: it has JavaScript only, and nothing to compile with. */
const app = `
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { App, Stack } from "aws-cdk-lib";
import { Function as Lambda, Runtime } from "aws-cdk-lib/aws-lambda";
import { functionCode, pagerCode, stepCode } from "./package/dist/lib/constructs/bundle.js";
import { jobs } from "./package/dist/lib/jobs/index.js";

const app = new App({ outdir: process.argv[1], analyticsReporting: false });
const stack = new Stack(app, "stack");
const own = ["bootstrap", "rotate", "look"].map((name) => [name, functionCode(name)]);
const config = { key: "shop", database: { name: "shop" }, roles: {} };
const codes = { ...Object.fromEntries(own), page: pagerCode({ config, alarms: [], runbook: "docs/runbook.md" }) };
for (const job of jobs) for (const step of job.steps) codes[job.name + "-" + step.name] = stepCode(job, step);
for (const [id, code] of Object.entries(codes)) {
  new Lambda(stack, id, { runtime: Runtime.NODEJS_24_X, handler: "index.handler", code });
}
const { template } = app.synth().getStackByName("stack");
const made = Object.values(template.Resources).filter(({ Type }) => Type === "AWS::Lambda::Function");
const names = Object.keys(codes);
console.log(JSON.stringify(made.map(({ Properties }, index) => [names[index], Properties.Code.S3Key])));
`;

describe("functions bundled from the compiled package", () => {
  let directory: Awaited<ReturnType<typeof bundleDirectory>>;
  let bundles: [name: string, directory: string][] = [];

  beforeAll(async () => {
    directory = await bundleDirectory();
    const target = join(directory.path, "package");
    const tsc = join(packageRoot, "node_modules", ".bin", "tsc");
    await run(tsc, ["-p", join(packageRoot, "tsconfig.build.json"), "--outDir", join(target, "dist")]);
    for (const name of ["package.json", "sql", "certificates"]) {
      await cp(join(packageRoot, name), join(target, name), { recursive: true });
    }
    await symlink(join(packageRoot, "node_modules"), join(directory.path, "node_modules"));
    const assembly = join(directory.path, "assembly");
    await mkdir(assembly);
    const script = ["--input-type=module", "--eval", app, assembly];
    const { stdout } = await run(process.execPath, script, { cwd: directory.path });
    bundles = (JSON.parse(stdout) as [string, string][]).map(([name, key]) => [
      name,
      join(assembly, `asset.${key.replace(".zip", "")}`),
    ]);
  });
  afterAll(() => directory.remove());

  it("stand beside what the package exports, and all of that can be imported", async () => {
    const imports = `
      import { readFileSync } from "node:fs";
      const { exports } = JSON.parse(readFileSync("package/package.json", "utf8"));
      const names = {};
      for (const [path, target] of Object.entries(exports)) {
        if (typeof target === "string") continue;
        readFileSync("package/" + target.types);
        names[path] = Object.keys(await import(process.cwd() + "/package/" + target.default));
      }
      console.log(JSON.stringify(names));`;
    const { stdout } = await run(process.execPath, ["--input-type=module", "--eval", imports], {
      cwd: directory.path,
    });
    expect(JSON.parse(stdout)).toEqual({
      "./config": expect.arrayContaining(["loadConfig", "parseConfig"]),
      "./constructs": expect.arrayContaining(["PostgresDatabase", "IsolatedNetwork", "PoolingProxy"]),
      "./jobs": expect.arrayContaining(["jobs"]),
      "./stacks": expect.arrayContaining(["addStacks", "NetworkStack"]),
    });
  });

  it("are one for each step, and those that set roles up and tell of alarms", () => {
    expect(bundles.length).toBeGreaterThan(10);
    expect(bundles.slice(0, 4).map(([name]) => name)).toEqual(["bootstrap", "rotate", "look", "page"]);
    expect(new Set(bundles.map(([, path]) => path)).size).toBe(bundles.length);
  });

  it.skipIf(whyNoLambda !== undefined)(
    `start on Lambda's Node${whyNoLambda === undefined ? "" : ` (skipped: ${whyNoLambda})`}`,
    async () => {
      for (const [name, path] of bundles) {
        const started = await startFunction(path, {
          PGKEEP_RESOURCES: JSON.stringify(functionResources("shop", { port: 1 })),
          PGKEEP_CONFIG: beyondDefaults(configFor("shop")),
          PGKEEP_LOOK_FUNCTION: "arn:aws:lambda:eu-central-1:123456789012:function:pgkeep-shop-look",
        });
        try {
          await expect(started.ready, name).resolves.toBeUndefined();
        } finally {
          await started.stop();
        }
      }
    },
  );
});
