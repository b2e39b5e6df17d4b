import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { packageRoot } from "../../lib/package-root.ts";
import { noClientTools, useClientTools } from "../helpers/client-tools.ts";

/** The sandbox's own version: what the configuration's default says. */
const major = 17;
const text = readFileSync(join(packageRoot, "docs", "restore.md"), "utf8");
/** Language, content, and the paragraph before it. */
const blocks = [...text.matchAll(/(?:^|\n\n)([^\n](?:(?!\n\n)[\s\S])*?)\n\n```(\w*)\n([\s\S]*?)```/g)].map(
  ([, before = "", language = "", content = ""]) => ({ before, language, content }),
);
const fences = [...text.matchAll(/^```(\w+)/gm)].map(([, language]) => language);
const missing = noClientTools(major);

/** Also when a block fails: the sandbox in the background has to be gone before its directory is. */
const endingSandbox = 'trap "code=\\$?; kill \\$(jobs -p) 2>/dev/null || true; wait; exit \\$code" EXIT';

describe("docs/restore.md", () => {
  const directory = mkdtempSync(join(tmpdir(), "pgkeep-restore-doc-"));
  let shell: ChildProcess | undefined;
  const tools = missing === undefined ? useClientTools(major) : undefined;
  afterAll(() => {
    // The sandbox in the background is in the shell's group.
    if (shell?.pid !== undefined && shell.exitCode === null) process.kill(-shell.pid, "SIGKILL");
    rmSync(directory, { recursive: true, force: true });
  });

  it("marks each command block as executed or not, and says so before it", () => {
    expect(blocks.map(({ language }) => language)).toEqual(fences);
    expect(fences.filter((language) => language === "sh").length).toBeGreaterThan(10);
    for (const { before, language, content } of blocks) {
      expect(["sh", "console"]).toContain(language);
      if (language === "console") expect(before, content).toMatch(/Not executed:$/);
    }
    const verification = readFileSync(join(packageRoot, "docs", "verification.md"), "utf8");
    expect(verification).toContain("`console` blocks of `docs/restore.md`");
  });

  it(`does what it says when executed as written, in this order${missing === undefined ? "" : ` (${missing})`}`, {
    skip: missing !== undefined,
    timeout: 480_000,
  }, async () => {
    const bin = join(directory, "bin");
    for (const name of ["bin", "home", "work"]) mkdirSync(join(directory, name));
    const program = `exec "${process.execPath}" --import "${import.meta.resolve("tsx")}" "${join(packageRoot, "bin", "pgkeep.ts")}" "$@"`;
    writeFileSync(join(bin, "pgkeep"), `#!/bin/sh\n${program}\n`, { mode: 0o755 });
    const script = blocks
      .filter(({ language }) => language === "sh")
      .map(({ content }, index) => `echo "### block ${index + 1}"\n${content}`);
    shell = spawn(
      "bash",
      ["-c", `set -euo pipefail\n${endingSandbox}\n${script.join("\n")}\necho "### end"`],
      {
        cwd: join(directory, "work"),
        env: {
          HOME: join(directory, "home"),
          TMPDIR: tmpdir(),
          PATH: [bin, tools?.directory, process.env.PATH].join(delimiter),
        },
        stdio: ["ignore", "pipe", "pipe"],
        detached: true,
      },
    );
    let output = "";
    for (const stream of [shell.stdout, shell.stderr]) {
      stream?.setEncoding("utf8").on("data", (more: string) => {
        output += more;
      });
    }
    const code = await new Promise<number | null>((resolve) => shell?.once("close", resolve));
    expect(code, output.slice(-4_000)).toBe(0);
    expect(output).toMatch(/### end\n$/);
    expect(output).toMatch(/"shop"\."reviews_lost": \d+ rows where rating = 5 from /);
    expect(output).toMatch(
      /"shop"\."addresses_restored_\w+": \d+ rows from .*, now named "shop"\."addresses"/,
    );
    // The sandbox has gone with everything in it.
    expect(
      readdirSync(join(directory, "home"), { recursive: true }).filter((name) => `${name}`.endsWith(".json")),
    ).toEqual([]);
  });
});
