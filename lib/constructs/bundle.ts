import { createHash } from "node:crypto";
import { copyFileSync, cpSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { AssetHashType, DockerImage, Token } from "aws-cdk-lib";
import { Code } from "aws-cdk-lib/aws-lambda";
import { buildSync } from "esbuild";
import { configDefaults } from "../config/beyond-defaults.ts";
import type { AnyStep, Job } from "../jobs/job.ts";
import type { Json } from "../json.ts";
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
/** Of the files that bundles are made from. */
export const sourceExtension = import.meta.url.endsWith(".ts") ? "ts" : "js";

export interface Bundle {
  /** Bytes of the minified code. */
  bytes: number;
  /** Every file that went in, relative to the package. */
  inputs: string[];
}

/** Files that a function reads from beside its code, by name; each database may have others. */
export type FilesBeside = Readonly<Record<string, string>>;

/**
 * Bundles the function of one step into `directory`: `index.mjs` with nothing but what this job and the step's
 * place need, its source map, and beside it the data files that the code reads. The same sources give the same
 * files, byte for byte.
 *
 * A job is found by its name: `check-health` is exported as `checkHealth` from `lib/jobs/check-health.ts`.
 */
export function bundleStep(job: Job, step: AnyStep, directory: string, beside: FilesBeside = {}): Bundle {
  const exported = job.name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
  const bundle = bundleSource(
    `
import { stepHandler } from "./lambdas/handler.${sourceExtension}";
import { openPorts } from "./lambdas/${step.where}.${sourceExtension}";
import { ${exported} as job } from "./lib/jobs/${job.name}.${sourceExtension}";
export const handler = stepHandler(job, ${JSON.stringify(step.name)}, openPorts, ${JSON.stringify(configDefaults())});
`,
    directory,
  );
  for (const [name, text] of Object.entries(beside)) writeFileSync(join(directory, name), text);
  return bundle;
}

/** Functions that belong to no job. */
export type OwnFunction = "bootstrap" | "rotate" | "look";

/** Bundles one file of `lambdas/` that exports `handler` by itself. */
export function bundleFunction(name: OwnFunction, directory: string): Bundle {
  return bundleSource(
    `
import { ${name}Handler } from "./lambdas/${name}.${sourceExtension}";
export const handler = ${name}Handler(${JSON.stringify(configDefaults())});
`,
    directory,
  );
}

interface BuiltSource {
  code: Uint8Array;
  sourceMap: Uint8Array;
  inputs: string[];
}

/** The same source is built once in a process, however many databases and assemblies have it. */
const built = new Map<string, BuiltSource>();

/** @throws Error with esbuild's messages when the source cannot be bundled */
export function bundleSource(source: string, directory: string): Bundle {
  const { code, sourceMap, inputs } = built.get(source) ?? build(source);
  built.set(source, { code, sourceMap, inputs });
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, "index.mjs"), code);
  writeFileSync(join(directory, "index.mjs.map"), sourceMap);
  copyData(inputs, directory);
  return { bytes: code.byteLength, inputs };
}

function build(source: string): BuiltSource {
  const { outputFiles, metafile } = buildSync({
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
    // Nor has it this one, by which PostgreSQL's parser finds its WebAssembly.
    define: { __dirname: "import.meta.dirname" },
    metafile: true,
    logLevel: "silent",
  });
  const contentsOf = (suffix: string) => {
    const file = outputFiles.find(({ path }) => path.endsWith(suffix));
    if (file === undefined) throw new Error(`esbuild made no ${suffix}`);
    return file.contents;
  };
  return {
    code: contentsOf("index.mjs"),
    sourceMap: contentsOf("index.mjs.map"),
    inputs: Object.keys(metafile.inputs),
  };
}

/** Which module reads which of the package's files. */
const dataOf: Record<string, string> = {
  "lib/install/schema-version": "sql/install",
  "lib/aws/rds-certificates": "certificates",
};

/** PostgreSQL's parser, and the WebAssembly that it reads from beside its code. */
const parser = { module: "libpg-query/wasm/libpg-query.js", data: "libpg-query.wasm" };

/** The bundle becomes a small package, so that the code finds its files as it does in pgkeep's own. */
function copyData(inputs: readonly string[], directory: string): void {
  writeFileSync(join(directory, "package.json"), `${JSON.stringify({ name: "pgkeep", type: "module" })}\n`);
  for (const [module, data] of Object.entries(dataOf)) {
    if (!inputs.some((input) => input.replace(/\.[jt]s$/, "") === module)) continue;
    const from = join(packageRoot, data);
    if (!existsSync(from)) throw new Error(`${from} is missing: the installation of pgkeep is not complete`);
    cpSync(from, join(directory, data), { recursive: true });
  }
  if (inputs.some((input) => input.endsWith(`node_modules/${parser.module}`))) {
    const installed = createRequire(import.meta.url).resolve("libpg-query");
    copyFileSync(join(dirname(installed), parser.data), join(directory, parser.data));
  }
}

/** The code of one step's function; `beside` is part of what its hash is made of. */
export function stepCode(job: Job, step: AnyStep, beside: FilesBeside = {}): Code {
  const name = `${job.name}/${step.name}`;
  return codeOf(
    Object.keys(beside).length === 0 ? name : `${name}/${digestOf(JSON.stringify(beside))}`,
    (directory) => bundleStep(job, step, directory, beside),
  );
}

/**
 * The code of one of the functions that belong to no job. `database` is the key of one that may have it while others
 * do not: where CDK does not bundle, it names code after the first function that has it.
 */
export function functionCode(name: OwnFunction, database?: string): Code {
  return codeOf(database === undefined ? name : `${name}/${database}`, (directory) =>
    bundleFunction(name, directory),
  );
}

/** Bundles the function that tells people of alarms, with what it knows of them as plain data. */
export function bundlePager(setting: Json, directory: string): Bundle {
  return bundleSource(pagerSource(setting), directory);
}

/** The code of the function that tells people of the alarms of one database. */
export function pagerCode(setting: Json): Code {
  return codeOf(`page/${digestOf(pagerSource(setting))}`, (directory) => bundlePager(setting, directory));
}

function digestOf(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

function pagerSource(setting: Json): string {
  // Code is made before CloudFormation knows what its references are.
  if (Token.isUnresolved(JSON.stringify(setting))) throw new TypeError("code cannot have references in it");
  return `
import { pageHandler } from "./lambdas/page.${sourceExtension}";
export const handler = pageHandler(${JSON.stringify(setting)});
`;
}

/**
 * An asset that CDK has bundled straight into the cloud assembly, and not at all for commands that need no assets
 * (`cdk list`). Its hash is that of the bundle.
 */
function codeOf(name: string, bundle: (directory: string) => Bundle): Code {
  // Where CDK looks when it does not bundle; what is bundled comes from all of the package.
  return Code.fromAsset(join(codeRoot, "lambdas"), {
    assetHashType: AssetHashType.OUTPUT,
    bundling: {
      // Never run: what is bundled here needs no container.
      image: DockerImage.fromRegistry("none"),
      // By this CDK tells the bundles of one directory apart.
      command: [name],
      local: {
        tryBundle(directory) {
          bundle(directory);
          return true;
        },
      },
    },
  });
}
