import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

/** The last but one line that is free to use without an account; its evaluator asks for nothing beside itself. */
const version = "4.3.0";
const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "pgkeep-tests");
const environment = join(cache, `localstack-core-${version}`);
const python = join(environment, "bin", "python");

/** Why LocalStack cannot be asked here, or undefined when it can. Pass it to `describe.skipIf` and print it. */
export const noLocalstack: string | undefined =
  existsSync(python) || spawnSync("python3", ["-c", "import venv, ensurepip"]).status === 0
    ? undefined
    : "(LocalStack is not asked: there is no python3 with venv)";

export interface LocalstackCase {
  m: number;
  n: number;
  treatment: string;
  comparison: string;
  threshold: number;
  previous: string;
  /** Of the periods, oldest first. */
  values: readonly (number | null)[];
}

/** The states that LocalStack's evaluator finds; the package is fetched once for all test runs, without what it needs. */
export function askLocalstack(cases: readonly LocalstackCase[]): string[] {
  install();
  const script = join(import.meta.dirname, "localstack-alarms.py");
  const output = execFileSync(python, [script], { input: JSON.stringify(cases), maxBuffer: 2 ** 26 });
  return JSON.parse(output.toString()) as string[];
}

function install(): void {
  if (existsSync(python)) return;
  mkdirSync(cache, { recursive: true });
  const temporary = `${environment}.${process.pid}`;
  try {
    execFileSync("python3", ["-m", "venv", temporary]);
    const pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"];
    execFileSync(join(temporary, "bin", "python"), [...pip, `localstack-core==${version}`]);
    renameSync(temporary, environment);
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}
