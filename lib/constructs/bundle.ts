import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { Code } from "aws-cdk-lib/aws-lambda";
import { buildSync } from "esbuild";
import { configDefaults } from "../config/beyond-defaults.ts";
import type { AnyStep, Job } from "../jobs/job.ts";
import { packageRoot } from "../package-root.ts";

/** What a function is made of: the file that its `handler` names, and the one exported function in it. */
export const functionHandler = "index.handler";

/** The version of Node that functions run on. */
const target = "node24";

/** CommonJS packages ask for Node's own modules with `require`, which an ES module does not have. */
const requireBanner =
  'import{createRequire as pgkeepRequire}from"node:module";const require=pgkeepRequire(import.meta.url);';

/** Sources, or what was built from them: this file stands in `lib/constructs` of either. */
const codeRoot = resolve(dirname(fileURLToPath(import.meta.url)), "..", "..");
const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";

export interface Bundle {
  /** Bytes of the minified code. */
  bytes: number;
  /** Every file that went in, relative to the package. */
  inputs: string[];
}

/**
 * Bundles the function of one step into `directory`: `index.mjs` with nothing but what this job and the step's
 * place need, its source map, and beside it the data files that the code reads. The same sources give the same
 * files, byte for byte.
 *
 * A job is found by its name: `check-health` is exported as `checkHealth` from `lib/jobs/check-health.ts`.
 */
export function bundleStep(job: Job, step: AnyStep, directory: string): Bundle {
  const exported = job.name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
  return bundleSource(
    `
import { stepHandler } from "./lambdas/handler.${extension}";
import { openPorts } from "./lambdas/${step.where}.${extension}";
import { ${exported} as job } from "./lib/jobs/${job.name}.${extension}";
export const handler = stepHandler(job, ${JSON.stringify(step.name)}, openPorts, ${JSON.stringify(configDefaults())});
`,
    directory,
  );
}

/** Bundles one file of `lambdas/` that exports `handler` by itself. */
export function bundleFunction(name: "bootstrap" | "rotate", directory: string): Bundle {
  return bundleSource(
    `
import { ${name}Handler } from "./lambdas/${name}.${extension}";
export const handler = ${name}Handler(${JSON.stringify(configDefaults())});
`,
    directory,
  );
}

/** @throws Error with esbuild's messages when the source cannot be bundled */
export function bundleSource(source: string, directory: string): Bundle {
  const built = buildSync({
    stdin: { contents: source, resolveDir: codeRoot, sourcefile: "function.ts", loader: "ts" },
    absWorkingDir: codeRoot,
    // Never written: the source map's paths are relative to it, and so the same wherever the bundle goes.
    outfile: join(codeRoot, "index.mjs"),
    write: false,
    bundle: true,
    minify: true,
    keepNames: true,
    platform: "node",
    format: "esm",
    target,
    mainFields: ["module", "main"],
    external: ["pg-native"],
    sourcemap: "external",
    sourcesContent: false,
    legalComments: "none",
    charset: "utf8",
    banner: { js: requireBanner },
    metafile: true,
    logLevel: "silent",
  });
  mkdirSync(directory, { recursive: true });
  let bytes = 0;
  for (const { path, contents } of built.outputFiles) {
    const name = path.endsWith(".map") ? "index.mjs.map" : "index.mjs";
    if (name === "index.mjs") bytes = contents.byteLength;
    writeFileSync(join(directory, name), contents);
  }
  const inputs = Object.keys(built.metafile.inputs);
  copyData(inputs, directory);
  return { bytes, inputs };
}

/** Which module reads which of the package's files. */
const dataOf: Record<string, string> = {
  "lib/install/schema-version": "sql/install",
  "lib/aws/rds-certificates": "certificates",
};

/** The bundle becomes a small package, so that the code finds its files as it does in pgkeep's own. */
function copyData(inputs: readonly string[], directory: string): void {
  writeFileSync(join(directory, "package.json"), `${JSON.stringify({ name: "pgkeep", type: "module" })}\n`);
  for (const [module, data] of Object.entries(dataOf)) {
    if (!inputs.some((input) => input.replace(/\.[jt]s$/, "") === module)) continue;
    const from = join(packageRoot, data);
    if (!existsSync(from)) throw new Error(`${from} is missing: the installation of pgkeep is not complete`);
    cpSync(from, join(directory, data), { recursive: true });
  }
}

const bundled = new Map<string, string>();
let bundles: string | undefined;

/** The code of one step's function; bundled once, however many databases have it. */
export function stepCode(job: Job, step: AnyStep): Code {
  return codeOf(`${job.name}-${step.name}`, (directory) => bundleStep(job, step, directory));
}

/** The code of one of the functions that belong to no job. */
export function functionCode(name: "bootstrap" | "rotate"): Code {
  return codeOf(name, (directory) => bundleFunction(name, directory));
}

function codeOf(name: string, bundle: (directory: string) => Bundle): Code {
  let directory = bundled.get(name);
  if (directory === undefined) {
    directory = join(temporaryDirectory(), name);
    bundle(directory);
    bundled.set(name, directory);
  }
  return Code.fromAsset(directory);
}

/** CDK copies assets while it synthesizes, so nothing has to stay when the process ends. */
function temporaryDirectory(): string {
  if (bundles === undefined) {
    const made = mkdtempSync(join(tmpdir(), "pgkeep-bundles-"));
    process.once("exit", () => rmSync(made, { recursive: true, force: true }));
    bundles = made;
  }
  return bundles;
}
