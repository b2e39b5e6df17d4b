import { beforeAll, describe, expect, it } from "vitest";
import { identifier } from "../../lib/postgres/identifiers.ts";
import { type PostgresMajor, requireSupportedServer } from "../../lib/postgres/versions.ts";
import { runCli, urlOf } from "../helpers/cli.ts";
import { defaultMajor, useServer } from "../helpers/postgres.ts";

const server = useServer(defaultMajor);
const oldServer = useServer(13 as PostgresMajor);
let url: string;

beforeAll(async () => {
  url = urlOf(server.target(await server.createDatabase()));
});

describe("a target that cannot be used", () => {
  it("says which server cannot be reached", async () => {
    const { code, stderr, stdout } = await runCli([
      "health",
      "--url",
      "postgres://me:geheim@127.0.0.1:1/shop",
    ]);
    expect(code).toBe(3);
    expect(stdout).toBe("");
    expect(stderr).toBe(
      "pgkeep: cannot reach 127.0.0.1:1/shop as me: connect ECONNREFUSED 127.0.0.1:1\nWhat to do: start the server, or check host and port\n",
    );
  });

  it("says that the host does not exist", async () => {
    const { code, stderr } = await runCli(["health", "--url", "postgres://me@no-such-host.invalid/shop"]);
    expect(code).toBe(3);
    expect(stderr).toMatch(
      /^pgkeep: cannot reach no-such-host\.invalid:5432\/shop as me: .*\nWhat to do: check the host name/,
    );
  });

  it("says that the password is wrong, without repeating it", async () => {
    const target = { ...server.target("postgres"), password: "geheim-und-falsch" };
    const { code, stderr } = await runCli(["health", "--url", urlOf(target)]);
    expect(code).toBe(3);
    expect(stderr).toMatch(/cannot log in to 127\.0\.0\.1:\d+\/postgres as .*password authentication failed/);
    expect(stderr).not.toContain("geheim");
  });

  it("says that the database does not exist", async () => {
    const { code, stderr } = await runCli(["health", "--url", urlOf(server.target("no such database"))]);
    expect(code).toBe(3);
    expect(stderr).toMatch(/database "no such database" does not exist\nWhat to do: check the database name/);
  });

  it("says that the server is too old", async () => {
    for (const command of [["health"], ["run", "vacuum"], ["install"], ["roles", "plan"], ["metrics"]]) {
      const { code, stdout, stderr } = await runCli([
        ...command,
        "--url",
        urlOf(oldServer.target("postgres")),
      ]);
      expect([command, code]).toEqual([command, 3]);
      expect(stdout + stderr).toContain("the server runs PostgreSQL 13.23; pgkeep works with 14 to 18");
    }
  });

  it("says that the server is too new", () => {
    expect(() => requireSupportedServer(190_001)).toThrow(
      "the server runs PostgreSQL 19.1; pgkeep works with 14 to 18",
    );
    expect(() => requireSupportedServer(180_004)).not.toThrow();
    expect(() => requireSupportedServer(140_000)).not.toThrow();
    expect(() => requireSupportedServer(90_624)).toThrow(/runs PostgreSQL 90624|9\.6/);
  });

  it.each(["mysql://root@localhost/shop", "shop", "", "postgres://[::1"])(
    "refuses %j as a URL without repeating it",
    async (text) => {
      const { code, stderr } = await runCli(["health", "--url", text]);
      expect(code).toBe(2);
      expect(stderr).toMatch(/database URL/);
      if (text.length > 4) expect(stderr).not.toContain(text);
    },
  );

  it("asks for a target when there is none", async () => {
    const { code, stderr } = await runCli(["health"]);
    expect(code).toBe(3);
    expect(stderr).toBe(
      "pgkeep: no database was given, and no sandbox is running\nWhat to do: give --url postgres://… (or set DATABASE_URL), or start a sandbox with `pgkeep sandbox`\n",
    );
  });

  it("prints one document under --json even then", async () => {
    const { code, stdout } = await runCli(["health", "--json", "--url", "postgres://me@127.0.0.1:1/shop"]);
    expect(code).toBe(3);
    expect(JSON.parse(stdout)).toEqual({
      error: {
        code: "unreachable",
        message: "cannot reach 127.0.0.1:1/shop as me: connect ECONNREFUSED 127.0.0.1:1",
        remedy: "start the server, or check host and port",
      },
    });
  });
});

describe("a command line that is wrong", () => {
  it.each([
    [["frobnicate"], /unknown command 'frobnicate'/],
    [["run"], /missing required argument 'job'/],
    [["run", "vacum"], /no job named "vacum"; .*\nWhat to do: did you mean vacuum\?/],
    [["health", "--colour"], /unknown option '--colour'/],
    [["run", "vacuum", "--arguments", "{"], /--arguments is not JSON/],
    [["sandbox", "--replicas", "-1"], /not a whole number from 0 to 15|argument missing/],
    [["sandbox", "--postgres", "13"], /"13" is not a version the sandbox can run/],
    [["sandbox", "--once", "--fault", "meteor"], /no fault named "meteor"/],
    [["sandbox", "--fault", "crash-primary"], /--fault goes with --once/],
    [["health", "--replica", "postgres://me@host/db"], /--replica goes with --url/],
  ])("%j exits with 2 and says why", async (args, message) => {
    const { code, stderr } = await runCli(args);
    expect(stderr).toMatch(message);
    expect(code).toBe(2);
  });
});

describe("what a role may not do", () => {
  it("is named when it may only connect", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await session.query("create role visitor login password 'visitor'");
    await session.close();
    const visitor = urlOf({ ...server.target(database), user: "visitor", password: "visitor" });
    const install = await runCli(["install", "--url", visitor]);
    expect(install.code).toBe(3);
    expect(install.stderr).toMatch(/visitor/);
    const health = await runCli(["health", "--json", "--url", visitor]);
    expect(health.code).toBe(0);
    const report = JSON.parse(health.stdout) as { results: { verdict: string; reason?: string }[] };
    const hidden = report.results.filter(({ verdict }) => verdict === "not-assessable");
    expect(hidden.some(({ reason }) => /pg_monitor|pg_read_all_stats/.test(reason ?? ""))).toBe(true);
  });

  it("does not leave anything half done on a read-only target", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await session.query(`alter database ${identifier(database)} set default_transaction_read_only = on`);
    await session.close();
    const { code, stderr } = await runCli(["install", "--url", urlOf(server.target(database))]);
    expect(code).toBe(3);
    expect(stderr).toMatch(/read-only/);
    const after = await server.connect(database);
    const [row] = await after.query<{ schemas: number }>(
      "select count(*) as schemas from pg_namespace where nspname = 'pgkeep'",
    );
    await after.close();
    expect(row?.schemas).toBe(0);
  });
});

describe("a job by URL", () => {
  it("says what this target does not have", async () => {
    const { code, stdout } = await runCli(["run", "drill-restore", "--url", url]);
    expect(code).toBe(3);
    expect(stdout).toMatch(/drill-restore needs .*backups.*, which this target does not have/);
  });

  it("runs without pgkeep's schema, and notes that it was not recorded", async () => {
    const { code, stdout } = await runCli(["run", "vacuum", "--json", "--url", url]);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      outcome: "succeeded",
      recorded: false,
      warnings: ["not recorded: the schema pgkeep is not installed here (`pgkeep install`)"],
    });
  });
});
