import { chmodSync, mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { findTools } from "../../lib/logical/tools.ts";

const root = mkdtempSync(join(tmpdir(), "tools-"));
/** Programs that say a version, as pg_dump --version does. */
function pretend(version: string): string {
  const directory = join(root, version, "bin");
  mkdirSync(directory, { recursive: true });
  for (const name of ["pg_dump", "pg_restore", "psql"]) {
    writeFileSync(join(directory, name), `#!/bin/sh\necho "${name} (PostgreSQL) ${version}"\n`);
    chmodSync(join(directory, name), 0o755);
  }
  return directory;
}

describe("finding pg_dump", () => {
  const path = [pretend("98.1"), pretend("97.2"), pretend("97.4"), "/nonexistent"].join(":");

  it("takes the lowest version that reads the server, and its newest minor", async () => {
    expect(await findTools(97, { path })).toMatchObject({
      directory: join(root, "97.4", "bin"),
      versionNumber: 970_004,
    });
    expect(await findTools(98, { path })).toMatchObject({ versionNumber: 980_001 });
    expect(await findTools(90, { path })).toMatchObject({ versionNumber: 970_004 });
  });

  it("names the package when every version is too old, and what there is", async () => {
    const error = await findTools(99, { path }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "not-found" });
    const { message, remedy } = error as { message: string; remedy: string };
    expect(message).toContain("PostgreSQL 99 needs pg_dump and pg_restore of version 99 or newer");
    expect(message).toContain(`97.4 in ${join(root, "97.4", "bin")}`);
    expect(remedy).toMatch(
      process.platform === "darwin" ? /brew install postgresql@99/ : /postgresql-client-99/,
    );
    expect(remedy).toContain("--bin-dir");
  });

  it("looks only where it is told", async () => {
    await expect(findTools(98, { binDirectory: join(root, "97.2", "bin"), path })).rejects.toThrow(
      "there is only 97.2",
    );
    await expect(findTools(98, { binDirectory: root })).rejects.toThrow(`${root} has none`);
  });

  it("passes over a program that does not run", async () => {
    const broken = join(root, "broken");
    mkdirSync(broken);
    for (const name of ["pg_dump", "pg_restore"]) {
      writeFileSync(join(broken, name), "#!/bin/sh\nexit 127\n");
      chmodSync(join(broken, name), 0o755);
    }
    expect(await findTools(97, { path: `${broken}:${path}` })).toMatchObject({ versionNumber: 970_004 });
  });
});
