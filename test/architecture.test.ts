import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { describe, expect, it } from "vitest";

const root = resolve(import.meta.dirname, "..");

interface SourceFile {
  path: string;
  text: string;
  /** Imported files of the project (relative to the root) and packages. */
  imports: { target: string; typeOnly: boolean; lazy: boolean }[];
}

const importPattern =
  /(?:^|\n)\s*(import|export)(\s+type)?\s[^;"']*?from\s+["']([^"']+)["']|import\(\s*["']([^"']+)["']\s*\)|(?:^|\n)\s*import\s+["']([^"']+)["']/g;

function sourceFiles(folder: string): SourceFile[] {
  const found: SourceFile[] = [];
  for (const entry of readdirSync(join(root, folder), { withFileTypes: true, recursive: true })) {
    if (!entry.isFile() || !entry.name.endsWith(".ts")) continue;
    const path = join(entry.parentPath, entry.name);
    const text = readFileSync(path, "utf8");
    const imports = [...text.matchAll(importPattern)].map((match) => {
      const specifier = match[3] ?? match[4] ?? match[5] ?? "";
      const target = specifier.startsWith(".")
        ? relative(root, resolve(dirname(path), specifier))
        : specifier;
      return { target, typeOnly: match[2] !== undefined, lazy: match[4] !== undefined };
    });
    found.push({ path: relative(root, path), text, imports });
  }
  return found;
}

const library = sourceFiles("lib");
const everything = [...library, ...sourceFiles("bin"), ...sourceFiles("lambdas")];

/** First path segment below lib, or the file itself: `lib/jobs/vacuum.ts` → `jobs`, `lib/errors.ts` → `errors.ts`. */
function layerOf(path: string): string {
  return path.replace(/^lib\//, "").split("/")[0] ?? path;
}

/** Files that any layer may use. */
const foundations = [
  "errors.ts",
  "alive.ts",
  "json.ts",
  "clock.ts",
  "package-root.ts",
  "words.ts",
  "ports",
  "alarms",
];
/** Work that jobs are made of: pure, or speaking SQL through a session. */
const core = [
  "retention",
  "drill",
  "routing",
  "maintenance",
  "vacuum",
  "reindex",
  "history",
  "partitions",
  "install",
  "pooling",
  "table-restore",
];

/** What each layer may import beside itself. Types of the configuration are open to all. */
const allowed: Record<string, string[]> = {
  ports: ["errors.ts", "json.ts", "alarms"],
  alarms: ["errors.ts", "words.ts"],
  config: ["errors.ts", "json.ts", "package-root.ts"],
  postgres: foundations,
  checks: [...foundations, "postgres", "history", "reindex", "maintenance", "vacuum"],
  html: [...foundations, "checks"],
  review: [...foundations, "postgres", "checks", "history", "html"],
  ...Object.fromEntries(core.map((name) => [name, [...foundations, "postgres", ...core]])),
  integrity: [...foundations, "postgres", "checks", "maintenance"],
  jobs: [...foundations, "postgres", "checks", "review", "integrity", ...core],
  status: [...foundations, "postgres", "checks", "review", "jobs", "html", "config", ...core],
  sandbox: [...foundations, "postgres", ...core, "environment.ts"],
  logical: [...foundations, "postgres", "retention", "maintenance"],
  url: [...foundations, "postgres", "routing", "environment.ts"],
  aws: [...foundations, "postgres", "routing", "install", "logical", "environment.ts"],
  constructs: [...foundations, "config", "jobs", "aws", "install"],
  stacks: [...foundations, "config", "jobs", "aws", "constructs"],
  cli: [
    ...foundations,
    "postgres",
    "checks",
    "review",
    "jobs",
    ...core,
    "status",
    "sandbox",
    "logical",
    "url",
    "aws",
    "config",
    "environment.ts",
    "prometheus.ts",
  ],
};

/** The sandbox's scheduler reads the job list, as the design allows; how long a job may be absent is in its schedule. */
const exceptions: Record<string, string[]> = {
  "lib/sandbox/scheduler.ts": ["jobs"],
  "lib/alarms/context.ts": ["config"],
};

describe("dependency rule", () => {
  it("finds the sources and their imports", () => {
    expect(library.length).toBeGreaterThan(30);
    expect(library.flatMap((file) => file.imports).length).toBeGreaterThan(100);
  });

  it("lets each layer import only the layers below it", () => {
    const offences = library.flatMap((file) => {
      const layer = layerOf(file.path);
      const may = [
        layer,
        ...(allowed[layer] ?? [...foundations, "postgres", "config", "environment.ts"]),
        ...(exceptions[file.path] ?? []),
      ];
      return file.imports
        .filter(({ target }) => target.startsWith("lib/"))
        .filter(
          ({ target, typeOnly }) =>
            !(typeOnly && (layerOf(target) === "config" || layerOf(target) === "environment.ts")),
        )
        .filter(({ target }) => !may.includes(layerOf(target)))
        .map(({ target }) => `${file.path} imports ${target}`);
    });
    expect(offences).toEqual([]);
  });

  it.each([
    ["pg", /^lib\/postgres\//],
    ["pg-connection-string", /^lib\/postgres\//],
    ["commander", /^lib\/cli\//],
    ["cli-table3", /^lib\/cli\//],
    ["log-update", /^lib\/cli\//],
    ["node:child_process", /^lib\/(sandbox|logical)\//],
    ["yaml", /^lib\/(config|cli)\//],
    ["libpg-query", /^lib\/checks\/workload\//],
    ["esbuild", /^lib\/constructs\/bundle\.ts$/],
    ["@aws-lambda-powertools/logger", /^lambdas\//],
  ])("keeps %s in its place", (specifier, place) => {
    const importers = everything.filter((file) => file.imports.some(({ target }) => target === specifier));
    expect(importers.map((file) => file.path).filter((path) => !place.test(path))).toEqual([]);
  });

  it.each([
    ["process.env", /\bprocess\.env\b/, /^bin\/|^lib\/aws\/|^lambdas\/handler\.ts/],
    ["process.exit", /\bprocess\.exit\b(?!Code)/, /^bin\//],
    ["console", /\bconsole\.(log|error|warn|info)\b/, /^$/],
  ])("uses %s only at the edge", (_, pattern, place) => {
    const users = everything.filter((file) => pattern.test(file.text)).map((file) => file.path);
    expect(users.filter((path) => !place.test(path))).toEqual([]);
  });

  it("lets functions import jobs and adapters, and nothing of the sandbox, the command line or the CDK", () => {
    const offences = everything.flatMap((file) =>
      file.imports
        .filter(() => file.path.startsWith("lambdas/"))
        .filter(({ target }) =>
          /^lib\/(sandbox|cli|url|constructs|stacks)\/|^aws-cdk-lib|^@aws-sdk/.test(target),
        )
        .map(({ target }) => `${file.path} imports ${target}`),
    );
    expect(offences).toEqual([]);
  });

  it("loads the SDK for a command only when it works with AWS", () => {
    const offences = library.flatMap((file) =>
      file.imports
        .filter(() => file.path.startsWith("lib/cli/"))
        .filter(({ target, typeOnly, lazy }) => target.startsWith("lib/aws/") && !typeOnly && !lazy)
        .map(({ target }) => `${file.path} imports ${target}`),
    );
    expect(offences).toEqual([]);
  });

  it("keeps adapters apart", () => {
    const offences = library.flatMap((file) =>
      file.imports
        .filter(({ target }) => file.path.startsWith("lib/aws/") && target.startsWith("lib/sandbox/"))
        .map(({ target }) => `${file.path} imports ${target}`),
    );
    expect(offences).toEqual([]);
  });
});
