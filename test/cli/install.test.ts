import { describe, expect, it } from "vitest";
import { currentSchemaVersion } from "../../lib/install/schema-version.ts";
import { runCli, urlOf } from "../helpers/cli.ts";
import { defaultMajor, type TestLogin, useServer } from "../helpers/postgres.ts";

describe("pgkeep install", () => {
  const server = useServer(defaultMajor);

  const pgkeep = (database: string, login: TestLogin, ...args: string[]) =>
    runCli([...args, "--url", urlOf(server.target(database, login))]);
  const prepared = async () => {
    const database = await server.createDatabase();
    return { database, master: await server.createMaster(database) };
  };
  const schemaExists = async (database: string) => {
    const session = await server.connect(database);
    const rows = await session.query("select 1 from pg_namespace where nspname = 'pgkeep'");
    await session.close();
    return rows.length === 1;
  };

  it("installs, says what it created, and the second time that nothing was to do", async () => {
    const { database, master } = await prepared();
    const first = await pgkeep(database, master, "install");
    expect(first).toMatchObject({ code: 0, stderr: "" });
    const version = await currentSchemaVersion();
    expect(first.stdout).toMatch(
      new RegExp(`^database ${database}: installed \\(schema pgkeep version ${version}, `),
    );
    expect(first.stdout).toContain(`  role ${database}_app: created`);
    const second = await pgkeep(database, master, "install");
    expect(second.code).toBe(0);
    expect(second.stdout).toMatch(new RegExp(`^database ${database}: unchanged \\(.*\\)\\n$`));
  });

  it("prints one document with --json", async () => {
    const { database, master } = await prepared();
    const { code, stdout } = await pgkeep(database, master, "install", "--json");
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      database,
      outcome: "installed",
      schemaVersion: await currentSchemaVersion(),
      repaired: [],
      blocked: [],
      unresolved: [],
      passwordsSet: [],
    });
  });

  it("shows with --dry-run the statements that make the same of the database, and runs none", async () => {
    const { database, master } = await prepared();
    const { code, stdout } = await pgkeep(database, master, "install", "--dry-run");
    expect(code).toBe(0);
    expect(stdout).toContain(
      `-- role ${database}_owner does not exist\nCREATE ROLE "${database}_owner" NOLOGIN;`,
    );
    expect(await schemaExists(database)).toBe(false);

    const session = await server.connect(database, master);
    await session.transaction((transaction) => transaction.query(stdout));
    await session.close();
    const after = await pgkeep(database, master, "install", "--dry-run", "--json");
    expect(JSON.parse(after.stdout)).toMatchObject({ changes: [], blocked: [] });
  });

  it("exits with 3 and one clear message when the user may not", async () => {
    const { database } = await prepared();
    const superuser = await server.connect(database);
    await superuser.query("create role plain login password 'p'");
    await superuser.close();
    const login = { user: "plain", password: "p" };
    const result = await pgkeep(database, login, "install");
    expect(result).toMatchObject({ code: 3, stdout: "" });
    expect(result.stderr).toMatch(
      /^pgkeep: plain may not install pgkeep in database .*; nothing was changed\./,
    );
    expect(result.stderr).toContain("What to do: connect as the master user of the server");
    const json = await pgkeep(database, login, "install", "--json");
    expect(json.code).toBe(3);
    expect(JSON.parse(json.stdout).error.code).toBe("insufficient-privilege");
    expect(await schemaExists(database)).toBe(false);
  });
});
