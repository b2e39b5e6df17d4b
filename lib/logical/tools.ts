import { execFile } from "node:child_process";
import { constants } from "node:fs";
import { access, readdir, realpath } from "node:fs/promises";
import { platform } from "node:os";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { PgkeepError } from "../errors.ts";
import { majorOf, versionText } from "../postgres/versions.ts";

const run = promisify(execFile);

/** PostgreSQL's own programs of one version. */
export interface ClientTools {
  directory: string;
  pgDump: string;
  pgRestore: string;
  /** Absent in some packages; only plain dumps need it. */
  psql: string | undefined;
  /** e.g. 170010, as servers number themselves. */
  versionNumber: number;
}

export interface ToolSearch {
  /** Look here and nowhere else. */
  binDirectory?: string | undefined;
  /** Value of PATH. */
  path?: string | undefined;
}

/**
 * Where packages put the programs, each with one version a directory: PGDG and Debian, PGDG for Red Hat,
 * Homebrew on both kinds of Mac, EDB's installer, Postgres.app.
 */
const places: readonly { parent: string; entry: RegExp; below: string }[] = [
  { parent: "/usr/lib/postgresql", entry: /^\d+$/, below: "bin" },
  { parent: "/usr", entry: /^pgsql-\d+$/, below: "bin" },
  { parent: "/opt/homebrew/opt", entry: /^(?:postgresql(?:@\d+)?|libpq)$/, below: "bin" },
  { parent: "/usr/local/opt", entry: /^(?:postgresql(?:@\d+)?|libpq)$/, below: "bin" },
  { parent: "/Library/PostgreSQL", entry: /^\d+$/, below: "bin" },
  { parent: "/Applications/Postgres.app/Contents/Versions", entry: /^\d+$/, below: "bin" },
];

/**
 * The lowest version of pg_dump and pg_restore on this machine that is at least `major`: what pg_dump needs to
 * read a server, and pg_restore to read a dump.
 * @throws PgkeepError `not-found` with the package to install
 */
export async function findTools(major: number, search: ToolSearch = {}): Promise<ClientTools> {
  const found = await installedTools(search);
  const fitting = found
    .filter(({ versionNumber }) => majorOf(versionNumber) >= major)
    .sort(
      (a, b) => majorOf(a.versionNumber) - majorOf(b.versionNumber) || b.versionNumber - a.versionNumber,
    )[0];
  if (fitting !== undefined) return fitting;
  const known = found.map(({ directory, versionNumber }) => `${versionText(versionNumber)} in ${directory}`);
  throw new PgkeepError(
    "not-found",
    `PostgreSQL ${major} needs pg_dump and pg_restore of version ${major} or newer, and ${
      known.length === 0
        ? search.binDirectory === undefined
          ? "this machine has none"
          : `${search.binDirectory} has none`
        : `there is only ${known.join(", ")}`
    }`,
    { remedy: `${packageHint(major)}, or say where they are with --bin-dir` },
  );
}

/** Every version on this machine. Programs that do not run are left out. */
export async function installedTools(search: ToolSearch = {}): Promise<ClientTools[]> {
  const directories =
    search.binDirectory === undefined
      ? [...(search.path ?? "").split(delimiter).filter((entry) => entry !== ""), ...(await knownPlaces())]
      : [search.binDirectory];
  const found = new Map<string, ClientTools>();
  for (const tools of await Promise.all(directories.map(toolsIn))) {
    if (tools !== undefined && !found.has(tools.pgDump)) found.set(tools.pgDump, tools);
  }
  return [...found.values()];
}

async function knownPlaces(): Promise<string[]> {
  const directories: string[] = [];
  for (const { parent, entry, below } of places) {
    for (const name of await readdir(parent).catch(() => [])) {
      if (entry.test(name)) directories.push(join(parent, name, below));
    }
  }
  return directories;
}

async function toolsIn(directory: string): Promise<ClientTools | undefined> {
  try {
    const pgDump = await realpath(join(directory, "pg_dump"));
    // Debian's wrapper guesses a version from the machine's own clusters; the real ones are found elsewhere.
    if (pgDump.endsWith("/pg_wrapper")) return undefined;
    const pgRestore = await realpath(join(directory, "pg_restore"));
    await Promise.all([access(pgDump, constants.X_OK), access(pgRestore, constants.X_OK)]);
    const psql = await realpath(join(directory, "psql")).catch(() => undefined);
    const { stdout } = await run(pgDump, ["--version"], { env: { LC_ALL: "C" }, timeout: 10_000 });
    const match = /\(PostgreSQL\) (\d+)\.?(\d+)?/.exec(stdout);
    if (match === null) return undefined;
    const versionNumber = Number(match[1]) * 10_000 + Number(match[2] ?? 0);
    return { directory, pgDump, pgRestore, psql, versionNumber };
  } catch {
    return undefined;
  }
}

/** Whether this build of pg_dump compresses with zstd; it says so before it connects (pg_dump 16 and newer). */
export async function supportsZstd(tools: ClientTools): Promise<boolean> {
  if (majorOf(tools.versionNumber) < 16) return false;
  const failure = await run(
    tools.pgDump,
    ["--format=custom", "--compress=zstd", "--file=/dev/null", "--no-password", "--host=/nonexistent"],
    { env: { LC_ALL: "C" }, timeout: 10_000 },
  ).then(
    () => "",
    (error: { stderr?: string }) => error.stderr ?? "",
  );
  return !/does not support compression/i.test(failure);
}

function packageHint(major: number): string {
  switch (platform()) {
    case "darwin":
      return `install it with \`brew install postgresql@${major}\``;
    case "linux":
      return `install the package postgresql-client-${major} (Debian, Ubuntu) or postgresql${major} (Red Hat, Amazon Linux, SUSE) from PostgreSQL's own repositories (https://www.postgresql.org/download/)`;
    default:
      return `install PostgreSQL ${major}'s client programs (https://www.postgresql.org/download/)`;
  }
}
