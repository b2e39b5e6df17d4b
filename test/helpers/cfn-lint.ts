import { execFile } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const version = "1.58.0";

/** Rules that are wrong here, and why. */
const ignored = {
  W3005: "CDK orders what uses a role after its policies, and names the role too: redundant, not wrong",
  W3691: "it takes a major version alone for a deprecated minor; RDS takes the newest minor of it",
};

/** Findings that are wrong for one property, and why. */
const mistaken: { rule: string; at: RegExp; reason: string }[] = [
  { rule: "E3690", at: /\/EngineVersion$/, reason: "it lists minors only; RDS takes a major version alone" },
  {
    rule: "E3021",
    at: /^\/Resources\/DatabaseCluster\w+\/Properties$/,
    reason: "a restored cluster has the master user of its source, and is given a password only",
  },
  {
    rule: "E3692",
    at: /\/EnableIAMDatabaseAuthentication$/,
    reason: "CreateDBCluster: valid for Aurora and Multi-AZ DB clusters (Amazon RDS API Reference)",
  },
];

export type CfnLint = (templates: string[]) => Promise<LintFinding[]>;

export interface LintFinding {
  Rule: { Id: string };
  Level: string;
  Message: string;
  Filename: string;
  Location: { Path: (string | number)[] };
}

/** cfn-lint in a virtual environment of its own in the user's cache; or the reason why it cannot be had. */
export async function installCfnLint(): Promise<CfnLint | { missing: string }> {
  const cache = process.env.XDG_CACHE_HOME || join(homedir(), ".cache");
  const environment = join(cache, "pgkeep", `cfn-lint-${version}`);
  const program = join(environment, "bin", "cfn-lint");
  if (!existsSync(program)) {
    try {
      mkdirSync(dirname(environment), { recursive: true });
      await run("python3", ["-m", "venv", environment]);
      await run(join(environment, "bin", "pip"), ["install", "--quiet", `cfn-lint==${version}`]);
    } catch (error) {
      return { missing: `cfn-lint cannot be installed: ${String(error).split("\n")[0]}` };
    }
  }
  return async (templates) => {
    const lint = run(
      program,
      [
        "--format",
        "json",
        "--regions",
        "eu-west-1",
        "--ignore-checks",
        ...Object.keys(ignored),
        "--",
        ...templates,
      ],
      {
        maxBuffer: 64 * 1024 * 1024,
      },
    );
    // Its exit code says that there are findings; they are on standard output all the same.
    const { stdout } = await lint.catch((error: { stdout?: string; stderr?: string }) => {
      if (error.stdout?.startsWith("[") === true) return { stdout: error.stdout };
      throw error;
    });
    const findings = JSON.parse(stdout || "[]") as LintFinding[];
    return findings.filter(
      ({ Rule, Location }) =>
        !mistaken.some(({ rule, at }) => rule === Rule.Id && at.test(`/${Location.Path.join("/")}`)),
    );
  };
}
