import { spawn, spawnSync } from "node:child_process";
import { afterEach, describe, expect, it } from "vitest";
import { maskLiterals } from "../../lib/checks/mask-literals.ts";
import type { TopStatement } from "../../lib/checks/workload/top.ts";
import type { QueriesDocument } from "../../lib/cli/queries.ts";
import { collectHistory } from "../../lib/history/collect.ts";
import { packageRoot } from "../../lib/package-root.ts";
import type { Session } from "../../lib/ports/databases.ts";
import { runCli, urlOf } from "../helpers/cli.ts";
import { useServer } from "../helpers/postgres.ts";
import { createLogin } from "../helpers/review.ts";
import { daysPass } from "../history/time.ts";
import { installed, password } from "../install/installed.ts";

const noTerminal =
  process.platform === "linux" && spawnSync("script", ["--version"]).status === 0
    ? undefined
    : "util-linux's script is not on this machine";

/** Runs a program with a terminal of its own, and gives what it wrote there. */
async function onTerminal(
  command: readonly string[],
  environment: Record<string, string>,
): Promise<{ code: number | null; output: string }> {
  const quoted = command.map((word) => `'${word}'`).join(" ");
  const child = spawn("script", ["-qec", `stty cols 120 rows 40 && ${quoted}`, "/dev/null"], {
    cwd: packageRoot,
    env: { ...process.env, ...environment },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    output += chunk;
  });
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  return { code, output };
}

describe("pgkeep queries", () => {
  const server = useServer();
  const open: Session[] = [];
  afterEach(() => Promise.all(open.splice(0).map((session) => session.close())));
  const url = (database: string, login?: { user: string; password: string }) =>
    urlOf(server.target(database, login) as Parameters<typeof urlOf>[0]);

  async function used(name?: string): Promise<{ session: Session; database: string }> {
    const database = await server.createDatabase(name);
    const session = await server.connect(database);
    open.push(session);
    await session.query("create extension pg_stat_statements with schema public");
    await session.query(
      "create table public.notes as select n as id, repeat('x', 500) as body from generate_series(1, 2000) n",
    );
    await session.query("select public.pg_stat_statements_reset()");
    for (let turn = 0; turn < 20; turn++) {
      await session.query(
        "select count(*) from public.notes where body <> 'sEcret' /*controller='notes',action='count'*/",
      );
    }
    for (let turn = 0; turn < 60; turn++) await session.query("select id from public.notes limit $1", [3]);
    return { session, database };
  }

  it("shows what takes the most time, without values, and where it comes from", async () => {
    const { database } = await used(`qu"eries\n\u001b[31m`);
    const run = await runCli(["queries", "top", "--url", url(database)]);
    expect(run).toMatchObject({ code: 0, stderr: "" });
    expect(run.stdout).toMatch(
      /^qu"eries \[31m: statements by total since \d{4}-.*sessions busy on average\n/,
    );
    expect(run.stdout).toMatch(
      / 20 .*select count\(\*\) from public\.notes where body <> \$1 {2}\[controller=notes action=count\]/,
    );
    expect(run.stdout).not.toContain("sEcret");
    expect(run.stdout).not.toContain("\u001b");
  });

  const measures: Record<string, (one: TopStatement) => number> = {
    total: (one) => one.totalMilliseconds,
    mean: (one) => one.meanMilliseconds,
    calls: (one) => one.calls,
    rows: (one) => one.rows,
    io: (one) => one.blocksRead + one.tempBlocksWritten,
  };

  it.each(Object.keys(measures))("orders by %s", async (by) => {
    const { database } = await used();
    const run = await runCli([
      "queries",
      "top",
      "--json",
      "--by",
      by,
      "--limit",
      "500",
      "--url",
      url(database),
    ]);
    const document = JSON.parse(run.stdout) as QueriesDocument;
    expect(document).toMatchObject({ database, by, load: [], notes: [] });
    const values = document.statements.map((one) => measures[by]?.(one) ?? 0);
    // Blocks that were only made dirty count as well, and are not shown.
    if (by !== "io") expect(values).toEqual([...values].sort((a, b) => b - a));
    const calls = (text: string) => document.statements.find(({ statement }) => statement.startsWith(text));
    expect(calls("select count(*) from public.notes")).toMatchObject({ calls: 20, rows: 20 });
    expect(calls("select id from public.notes")).toMatchObject({ calls: 60, rows: 180 });
    const sum = document.statements.reduce((total, one) => total + one.totalMilliseconds, 0);
    expect(Math.abs(sum - document.totalMilliseconds)).toBeLessThan(1);
    const short = await runCli([
      "queries",
      "top",
      "--json",
      "--by",
      by,
      "--limit",
      "1",
      "--url",
      url(database),
    ]);
    expect((JSON.parse(short.stdout) as QueriesDocument).statements).toHaveLength(1);
  });

  it("shows those that are slow, and only those", async () => {
    const { session, database } = await used();
    await session.query("select pg_sleep(0.2)");
    const slow = async (over: number) =>
      JSON.parse(
        (await runCli(["queries", "slow", "--json", "--over", String(over), "--url", url(database)])).stdout,
      ) as QueriesDocument;
    expect((await slow(150)).statements).toMatchObject([{ calls: 1, statement: "select pg_sleep($1)" }]);
    expect((await slow(60_000)).statements).toEqual([]);
    const run = await runCli(["queries", "slow", "--url", url(database)]);
    expect(run.stdout).toContain("No statement of that kind has been counted.");
  });

  it("watches what happens between two looks", async () => {
    const { session, database } = await used();
    const watching = runCli([
      "queries",
      "watch",
      "--every",
      "1",
      "--times",
      "2",
      "--json",
      "--url",
      url(database),
    ]);
    let isOver = false;
    void watching.finally(() => {
      isOver = true;
    });
    let calls = 0;
    while (!isOver) {
      await session.query("select id from public.notes where id = $1", [calls]);
      calls += 1;
    }
    const document = JSON.parse((await watching).stdout);
    expect(document.intervals).toHaveLength(2);
    const [interval] = document.intervals;
    expect(interval.callsPerSecond).toBeGreaterThan(1);
    const watched = interval.statements.find((one: { statement: string }) =>
      one.statement.endsWith("where id = $1"),
    );
    expect(watched.calls).toBeGreaterThan(0);
    expect(watched.calls).toBeLessThanOrEqual(calls);
    expect(JSON.stringify(document)).not.toContain("count(*)");
  });

  it("prints plain lines where there is no terminal, and ends with Ctrl-C", async () => {
    const { database } = await used();
    const stop = new AbortController();
    const running = runCli(["queries", "watch", "--every", "1", "--url", url(database)], {
      signal: stop.signal,
    });
    setTimeout(() => stop.abort(), 1_500);
    const run = await running;
    expect(run).toMatchObject({ code: 0, stderr: "" });
    expect(run.stdout).toMatch(/^\d{4}-\S+ [\d.]+ calls\/s, [\d.]+ sessions busy, \d+ statements? shown\n/);
    const refused = await runCli(["queries", "watch", "--json", "--url", url(database)]);
    expect(refused).toMatchObject({ code: 2 });
    expect(refused.stderr).toContain("--times");
  });

  it.skipIf(noTerminal !== undefined)(
    `draws over itself on a terminal${noTerminal === undefined ? "" : ` (skipped: ${noTerminal})`}`,
    async () => {
      const { database } = await used(`wat"ch\u001b[31m`);
      const { code, output } = await onTerminal(
        [
          process.execPath,
          "--import",
          "tsx",
          "bin/pgkeep.ts",
          "queries",
          "watch",
          "--every",
          "1",
          "--times",
          "3",
        ],
        { DATABASE_URL: url(database) },
      );
      expect(code).toBe(0);
      expect(output).toContain('wat"ch [31m, every 1 s; Ctrl-C ends');
      expect(output.match(/ calls\/s, /g)).toHaveLength(3);
      // Each picture but the first goes back up to where the one before began.
      // biome-ignore lint/suspicious/noControlCharactersInRegex: that is how it is done.
      expect(output.match(/\u001b\[\d+A/g)?.length).toBeGreaterThanOrEqual(2);
      expect(output).not.toContain("\u001b[31m");
    },
  );

  it("says what is missing, and what a role cannot see", async () => {
    const bare = await server.createDatabase();
    const run = await runCli(["queries", "top", "--url", url(bare)]);
    expect(run.code).toBe(3);
    expect(run.stderr).toContain("CREATE EXTENSION pg_stat_statements;");
    const { database } = await used();
    const login = await createLogin(server, database);
    const limited = await runCli(["queries", "top", "--url", url(database, login)]);
    expect(limited.code).toBe(0);
    expect(limited.stdout).toMatch(
      /Note: \d+ statements of other roles are hidden from login_\d+: GRANT pg_monitor TO/,
    );
  });

  it("shows the load day by day where history was collected", async () => {
    const { database, names, as } = await installed(server);
    const collect = (session: Session) =>
      collectHistory({
        session,
        keepDays: 400,
        keepStatementSnapshots: 35,
        statements: 500,
        mask: maskLiterals,
        dryRun: false,
      });
    await as(names.monitoring, collect);
    await as(undefined, (session) => daysPass(session, 1));
    await as(names.monitoring, (session) => session.query("select pg_sleep(0.05)"));
    await as(names.monitoring, collect);
    const run = await runCli([
      "queries",
      "top",
      "--json",
      "--url",
      url(database, { user: names.monitoring, password }),
    ]);
    const { load } = JSON.parse(run.stdout) as QueriesDocument;
    expect(load).toHaveLength(1);
    expect(load[0]?.seconds).toBeGreaterThan(80_000);
    expect(load[0]?.calls).toBeGreaterThan(0);
  });
});
