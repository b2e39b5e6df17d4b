import { describe, expect, it } from "vitest";
import { settingsChecks } from "../../lib/checks/settings/index.ts";
import type { Session } from "../../lib/ports/databases.ts";
import { allMajors, defaultMajor, useServer } from "../helpers/postgres.ts";
import { createLogin, expectMended, runChecks, useStandby } from "../helpers/review.ts";

const check = (name: string) => {
  const found = settingsChecks.find((one) => one.name === name);
  if (found === undefined) throw new Error(`no check ${name}`);
  return found;
};

const keysOf = async (session: Session, ...names: string[]) => {
  const report = await runChecks(
    names.length === 0 ? settingsChecks : names.map((name) => check(name)),
    session,
  );
  return report.results.flatMap(({ findings }) => findings.map(({ key }) => key)).toSorted();
};

/** What this version's defaults and the test's server have against them, whatever the test is about. */
const usual = (major: number) => [
  "durability/fsync",
  "logging/log_autovacuum_min_duration",
  ...(major < 15 ? ["logging/log_checkpoints"] : []),
  "logging/log_lock_waits",
  "logging/log_min_duration_statement",
  "logging/log_temp_files",
  "planner-settings/random_page_cost",
  "query-statistics/pg_stat_statements",
  "query-statistics/track_io_timing",
  ...(major === 14 ? ["server-version/14"] : []),
  "timeouts/idle_in_transaction_session_timeout",
];

describe.each(allMajors)("review of settings on PostgreSQL %i", (major) => {
  const server = useServer(major);

  it("finds what the defaults lack, and nothing else", async () => {
    const session = await server.connect(await server.createDatabase());
    // Since 15 long autovacuums and checkpoints are logged by default.
    const expected = usual(major).filter(
      (key) => major < 15 || key !== "logging/log_autovacuum_min_duration",
    );
    expect(await keysOf(session)).toEqual(expected);
    await session.close();
  });

  it("finds nothing when they are set, and says so", async () => {
    const session = await server.connect(await server.createDatabase());
    await session.query("create extension pg_stat_statements schema public");
    const good = {
      fsync: "on",
      log_autovacuum_min_duration: "10s",
      log_checkpoints: "on",
      log_lock_waits: "on",
      log_min_duration_statement: "1s",
      log_temp_files: "10MB",
      random_page_cost: "1.1",
      track_io_timing: "on",
      idle_in_transaction_session_timeout: "5min",
    };
    for (const [name, value] of Object.entries(good)) {
      await session.query(`alter system set ${name} = '${value}'`);
    }
    await reload(session);
    const again = await server.connect(session.database);
    const names = settingsChecks
      .map(({ name }) => name)
      .filter((name) => name !== "checkpoint-settings" && name !== "server-version");
    const report = await runChecks(
      names.map((name) => check(name)),
      again,
    );
    expect(report.results.map(({ check: name, verdict }) => [name, verdict])).toEqual(
      names.map((name) => [name, "pass"]),
    );
    expect(report.results.every(({ good: said }) => said.length === 1)).toBe(true);
    await session.query("alter system reset all");
    await reload(session);
    await again.close();
    await session.close();
  });
});

describe("review of settings", () => {
  const server = useServer(defaultMajor);

  const withSettings = async (settings: Record<string, string>, names: string[]) => {
    const session = await server.connect(await server.createDatabase());
    for (const [name, value] of Object.entries(settings)) {
      await session.query(`alter system set ${name} = '${value}'`);
    }
    await reload(session);
    const again = await server.connect(session.database);
    try {
      return await runChecks(
        names.map((name) => check(name)),
        again,
      );
    } finally {
      await session.query("alter system reset all");
      await reload(session);
      await again.close();
      await session.close();
    }
  };

  it.each<[string, Record<string, string>, string[], string]>([
    [
      "data that a crash would lose",
      { full_page_writes: "off", synchronous_commit: "off", zero_damaged_pages: "on" },
      [
        "durability/fsync",
        "durability/full_page_writes",
        "durability/synchronous_commit",
        "durability/zero_damaged_pages",
      ],
      "durability",
    ],
    [
      "autovacuum that does not keep up",
      {
        autovacuum: "off",
        track_counts: "off",
        autovacuum_vacuum_cost_delay: "20ms",
        autovacuum_naptime: "10min",
      },
      [
        "autovacuum-settings/autovacuum",
        "autovacuum-settings/autovacuum_naptime",
        "autovacuum-settings/autovacuum_vacuum_cost_delay",
        "autovacuum-settings/track_counts",
      ],
      "autovacuum-settings",
    ],
    [
      "checkpoints that come too often, in bursts",
      { checkpoint_timeout: "1min", checkpoint_completion_target: "0.5" },
      ["checkpoint-settings/checkpoint_completion_target", "checkpoint-settings/checkpoint_timeout"],
      "checkpoint-settings",
    ],
    [
      "plans that nobody can have",
      { enable_hashjoin: "off", random_page_cost: "1.1", default_statistics_target: "10" },
      ["planner-settings/default_statistics_target", "planner-settings/enable_hashjoin"],
      "planner-settings",
    ],
    [
      "a cache that the planner does not know of",
      { effective_cache_size: "8MB" },
      ["memory-settings/effective_cache_size"],
      "memory-settings",
    ],
    [
      "every statement in the log",
      {
        log_statement: "all",
        log_lock_waits: "on",
        log_min_duration_statement: "0",
        log_temp_files: "0",
        log_checkpoints: "on",
        log_autovacuum_min_duration: "0",
      },
      ["logging/log_statement"],
      "logging",
    ],
    [
      "a change that waits for a restart",
      { max_connections: "77" },
      ["pending-restart/max_connections"],
      "pending-restart",
    ],
  ])("finds %s", async (_, settings, expected, name) => {
    const report = await withSettings(settings, [name]);
    const [result] = report.results;
    expect(result?.findings.map(({ key }) => key).toSorted()).toEqual(expected);
    expect(result?.findings.map(({ remediation }) => remediation.sql).join("\n")).toMatch(
      /ALTER SYSTEM SET|^-- Set \w+ to|^-- Restart/,
    );
  });

  it("says that early checkpoints come from a small max_wal_size, once enough were counted", async () => {
    const session = await server.connect(await server.createDatabase());
    expect((await runChecks([check("checkpoint-settings")], session)).results[0]).toMatchObject({
      verdict: "not-assessable",
      reason: expect.stringContaining("checkpoints were counted"),
    });
    for (let i = 0; i < 21; i += 1) {
      await session.query("create table if not exists public.t (a int)");
      await session.query("checkpoint");
    }
    await session.query("select pg_stat_clear_snapshot()");
    expect(await keysOf(session, "checkpoint-settings")).toEqual(["checkpoint-settings/max_wal_size"]);
    await session.close();
  });

  it("asks each login of an application for a limit of its statements, and mends it", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    const limited = await createLogin(server, database);
    const unlimited = await createLogin(server, database);
    await session.query(`alter role ${limited.user} in database ${database} set statement_timeout = '30s'`);
    const sessions = [await server.connect(database, limited), await server.connect(database, unlimited)];
    const report = await runChecks([check("timeouts")], session);
    const found = report.results[0]?.findings ?? [];
    expect(found.map(({ key }) => key).toSorted()).toEqual([
      "timeouts/idle_in_transaction_session_timeout",
      `timeouts/statement_timeout of ${unlimited.user}`,
    ]);
    await expectMended(
      check("timeouts"),
      session,
      found.find(({ object }) => object.role === unlimited.user),
    );
    for (const one of [...sessions, session]) await one.close();
  });

  it("names tables that autovacuum leaves alone, not those of extensions, and mends them", async () => {
    const session = await server.connect(await server.createDatabase());
    const hostile = '"; drop table x; --';
    await session.query('create schema "Ünï.code"');
    await session.query(
      `create table "Ünï.code"."""; drop table x; --" (a int) with (fillfactor = 90, autovacuum_enabled = off)`,
    );
    await session.query("create table public.fine (a int) with (autovacuum_enabled = true)");
    await session.query("create temporary table passing (a int) with (autovacuum_enabled = false)");
    const [result] = (await runChecks([check("tables-without-autovacuum")], session)).results;
    expect(result?.findings.map(({ object }) => object)).toEqual([{ schema: "Ünï.code", table: hostile }]);
    await expectMended(check("tables-without-autovacuum"), session, result?.findings[0]);
    await session.close();
  });

  it("needs no right but to connect, and says what it could not see", async () => {
    const database = await server.createDatabase();
    const login = await createLogin(server, database);
    const session = await server.connect(database, login);
    const { results } = await runChecks(settingsChecks, session);
    expect(
      results.map(({ reason }) => reason).filter((reason) => reason?.includes("the check failed")),
    ).toEqual([]);
    expect(results.find((one) => one.check === "timeouts")?.reason).toContain("pg_file_settings");
    await session.close();
  });

  it("names the parameter group where the server is one of RDS", async () => {
    const database = await server.createDatabase();
    await server.createMaster(database);
    const session = await server.connect(database);
    const [result] = (await runChecks([check("planner-settings")], session)).results;
    expect(result?.findings[0]?.remediation.sql).toBe(
      "-- In the DB parameter group of the instance: random_page_cost = 1.1",
    );
    await session.close();
  });
});

describe("review of settings on a standby", () => {
  const pair = useStandby();

  it("asks the same as on the primary", async () => {
    await pair.caughtUp();
    const { results } = await runChecks(settingsChecks, pair.standby);
    expect(
      results.map(({ reason }) => reason).filter((reason) => reason?.includes("the check failed")),
    ).toEqual([]);
    expect(results.find((one) => one.check === "planner-settings")?.verdict).toBe("findings");
  });
});

/** Asks for the configuration to be read, and waits until a new session gets it. */
async function reload(session: Session): Promise<void> {
  await session.query("select pg_reload_conf()");
  await session.query("select pg_sleep(0.2)");
}
