import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { logMetrics } from "../../../lib/alarms/log-metrics.ts";
import type { MetricName } from "../../../lib/alarms/metrics.ts";
import { checkHealth, type HealthReport } from "../../../lib/checks/health.ts";
import type { PreviousSample } from "../../../lib/checks/samples.ts";
import { connect } from "../../../lib/postgres/connect.ts";
import { openPoolerConsole } from "../../../lib/postgres/pooler-console.ts";
import type { FaultReport } from "../../../lib/sandbox/faults/fault.ts";
import { runFault } from "../../../lib/sandbox/faults/index.ts";
import { findPgbouncer, noPgbouncer, startPoolers, stopPooler } from "../../../lib/sandbox/pooler.ts";
import { logFile } from "../../../lib/sandbox/server.ts";
import { configFor } from "../../helpers/config.ts";
import { allMajors, defaultMajor } from "../../helpers/postgres.ts";
import { useShopSandbox } from "../../helpers/shop-sandbox.ts";

const pgbouncer = await findPgbouncer();
const config = configFor("shop", { health: { longQueryWarnSeconds: 1, longQueryTicketSeconds: 1 } });
/** Counters reach a sample within a second or two; a busy machine needs more. */
const patience = { timeout: 20_000, interval: 100 };
const majors = allMajors.filter((major) => major === defaultMajor || major === 14 || major === 18);

describe.each(majors)("faults of load, PostgreSQL %i", (major) => {
  /** What does not depend on how a version counts. */
  const once = it.skipIf(major !== defaultMajor);
  const sandbox = useShopSandbox(major, {
    database: 'the "shop" of O\'Brien\n%d — ü',
    replicas: 0,
    settings: { max_connections: 40 },
  });
  const apply = (name: string) => runFault({ name }, sandbox.context);
  const repair = (name: string) => runFault({ name, repair: true }, sandbox.context);

  /** Each fault twice in each direction: the second time changes nothing and says so. */
  async function around(
    name: string,
    broken: (report: FaultReport) => Promise<void>,
    whole: () => Promise<void> = async () => {},
  ): Promise<void> {
    await expect(repair(name)).resolves.toMatchObject({ fault: name, outcome: "not-applied" });
    const report = await apply(name);
    try {
      expect(report).toMatchObject({ fault: name, outcome: "applied" });
      await broken(report);
      await expect(apply(name)).resolves.toMatchObject({ outcome: "already-applied" });
      await expect(repair(name)).resolves.toMatchObject({ outcome: "repaired" });
    } finally {
      // Where it failed: the next test begins without it.
      await repair(name);
    }
    await whole();
    await expect(repair(name)).resolves.toMatchObject({ outcome: "not-applied" });
    const left = await sandbox.as((session) =>
      session.query("select pid from pg_stat_activity where application_name like 'pgkeep fault%'"),
    );
    expect(left).toEqual([]);
  }

  const health = (previous?: HealthReport): Promise<HealthReport> =>
    sandbox.as((session) =>
      checkHealth({
        session,
        config,
        now: new Date(),
        ...(previous === undefined ? {} : { previous: sampleOf(previous) }),
      }),
    );
  const value = (report: HealthReport, name: MetricName) =>
    report.metrics.find((datum) => datum.name === name)?.value;

  /** What has happened since that sample. */
  const since = (before: HealthReport, name: MetricName) => async () =>
    value(await health(before), name) ?? 0;

  /** What happens from now on, in half a second. */
  async function inAWhile(name: MetricName): Promise<number> {
    // What ended sessions and the collector of 14 have not counted yet.
    await new Promise((resolve) => setTimeout(resolve, major < 15 ? 1_000 : 100));
    const before = await health();
    await new Promise((resolve) => setTimeout(resolve, 500));
    return since(before, name)();
  }

  once(
    "leak-connections: the application's connections grow until none is left, and are taken back",
    async () => {
      const used = async () => value(await health(), "ConnectionsUsedPercent") ?? 0;
      await around(
        "leak-connections",
        async () => {
          expect(await used()).toBeLessThan(50);
          await expect.poll(used, patience).toBeGreaterThanOrEqual(100);
          await sandbox.as((session) =>
            session.query(
              "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'pgkeep fault leak-connections' limit 5",
            ),
          );
          await expect.poll(used, patience).toBeGreaterThanOrEqual(100);
        },
        async () => expect(await used()).toBeLessThan(20),
      );
    },
  );

  once("long-query: one active statement that reads, of which a finding names the process", async () => {
    const longest = async () => value(await health(), "LongRunningQueries");
    await around(
      "long-query",
      async ({ details }) => {
        await expect.poll(longest, patience).toBe(1);
        const finding = (await health()).results
          .flatMap(({ findings }) => findings)
          .find(({ check }) => check === "long-running-queries");
        expect(finding).toMatchObject({ object: { pid: details.pid } });
        expect(finding?.evidence.statement).toContain("shop.orders");
      },
      async () => expect(await longest()).toBe(0),
    );
  });

  it("deadlock-storm: deadlocks come several times a second, and the log names the statements", async () => {
    const before = await health();
    await around(
      "deadlock-storm",
      async () => {
        await expect.poll(since(before, "Deadlocks"), patience).toBeGreaterThanOrEqual(5);
        expect(await readFile(logFile(sandbox.state.primary.dataDirectory), "utf8")).toMatch(
          /deadlock detected[\s\S]*shop\.warehouses where id = \$1 for no key update/,
        );
      },
      async () => expect(await inAWhile("Deadlocks")).toBe(0),
    );
  });

  it("error-storm: most of five hundred transactions and more are rolled back", async () => {
    const before = await health();
    await around(
      "error-storm",
      async () => {
        await expect.poll(since(before, "TransactionsRolledBack"), patience).toBeGreaterThan(1_000);
        const after = await health(before);
        const rolledBack = value(after, "TransactionsRolledBack") ?? 0;
        expect(rolledBack / (rolledBack + (value(after, "TransactionsCommitted") ?? 0))).toBeGreaterThan(0.5);
      },
      async () => expect(await inAWhile("TransactionsRolledBack")).toBe(0),
    );
  });

  it("temporary-file-storm: megabytes a second go through temporary files, and none stays", async () => {
    const before = await health();
    await around(
      "temporary-file-storm",
      async () => {
        await expect.poll(since(before, "TemporaryBytes"), patience).toBeGreaterThan(20 * 2 ** 20);
      },
      async () => expect(await inAWhile("TemporaryBytes")).toBe(0),
    );
    const files = await sandbox.as((session) =>
      session.query<{ bytes: number }>("select coalesce(sum(size), 0)::bigint as bytes from pg_ls_tmpdir()"),
    );
    expect(files).toEqual([{ bytes: 0 }]);
  });

  it("cache-collapse: few block reads are answered from the buffers", async () => {
    await around("cache-collapse", async () => {
      const before = await health();
      await expect.poll(since(before, "CacheHitPercent"), patience).toBeGreaterThan(0);
      await new Promise((resolve) => setTimeout(resolve, 500));
      expect(await since(before, "CacheHitPercent")()).toBeLessThanOrEqual(config.health.cacheHitPercent);
    });
  });

  it("checkpoint-storm: the volume of WAL forces checkpoints until the setting is back", async () => {
    const before = await health();
    const setting = () =>
      sandbox.as(async (session) => {
        const [row] = await session.query<{ value: string }>(
          "select current_setting('max_wal_size') as value",
        );
        return row?.value;
      });
    await around(
      "checkpoint-storm",
      async () => {
        await expect.poll(since(before, "CheckpointsRequested"), patience).toBeGreaterThanOrEqual(6);
        const after = await health(before);
        expect(value(after, "CheckpointsTimed")).toBe(0);
        const { findings } = after.results.find(({ check }) => check === "checkpoints") ?? { findings: [] };
        expect(findings).toHaveLength(1);
      },
      async () => {
        await expect.poll(setting, patience).toBe("256MB");
      },
    );
  });

  once("checkpoint-storm: keeps what somebody has set, before or in the meantime", async () => {
    const system = () =>
      sandbox.as(async (session) => {
        const rows = await session.query<{ setting: string }>(
          "select setting from pg_file_settings where name = 'max_wal_size' and sourcefile like '%auto.conf'",
        );
        return rows.map(({ setting }) => setting);
      });
    const set = (value: string) =>
      sandbox.as((session) => session.query(`alter system set max_wal_size = '${value}'`));
    await set("512MB");
    await apply("checkpoint-storm");
    expect(await system()).toEqual(["8MB"]);
    await repair("checkpoint-storm");
    expect(await system()).toEqual(["512MB"]);
    await apply("checkpoint-storm");
    await set("2GB");
    await expect(repair("checkpoint-storm")).resolves.toMatchObject({ outcome: "repaired" });
    expect(await system()).toEqual(["2GB"]);
    await sandbox.as((session) => session.query("alter system reset max_wal_size"));
  });

  once("cpu-storm: more sessions are active than the machine has CPUs", async () => {
    const active = () =>
      sandbox.as(async (session) => {
        const rows = await session.query(
          "select pid from pg_stat_activity where state = 'active' and backend_type = 'client backend' and pid <> pg_backend_pid()",
        );
        return rows.length;
      });
    await around(
      "cpu-storm",
      async ({ details }) => {
        await expect.poll(active, patience).toBeGreaterThan(details.cpus as number);
      },
      async () => expect(await active()).toBe(0),
    );
  });

  it("hog-memory: the process of an idle session has grown by what was asked for, on no disk", async () => {
    const before = await health();
    await around("hog-memory", async ({ details }) => {
      const status = await readFile(`/proc/${details.pid}/status`, "utf8");
      const kilobytes = Number(/^RssAnon:\s+(\d+) kB$/m.exec(status)?.[1]);
      expect(kilobytes / 1024).toBeGreaterThan(200);
      expect(kilobytes / 1024).toBeLessThan(256);
      expect(await since(before, "TemporaryBytes")()).toBe(0);
      expect(value(await health(), "IdleInTransactionSessions")).toBe(0);
    });
  });

  /** Lines of the log that count for the alarm. */
  const refusedLogins = async () => {
    const text = await readFile(logFile(sandbox.state.primary.dataDirectory), "utf8");
    return text
      .split("\n")
      .filter((line) => logMetrics.FailedLogins.anyOf.some((part) => line.includes(part))).length;
  };

  once("failed-logins: the log has a line that the alarm counts for each", async () => {
    const before = await refusedLogins();
    await around(
      "failed-logins",
      async () => {
        await expect
          .poll(refusedLogins, patience)
          .toBeGreaterThanOrEqual(before + config.alarms.failedLogins);
      },
      async () => {
        const after = await refusedLogins();
        await new Promise((resolve) => setTimeout(resolve, 400));
        expect(await refusedLogins()).toBe(after);
      },
    );
  });

  once("a storm that waits for somebody's lock is repaired all the same", async () => {
    await apply("lock-pile-up");
    const storm = apply("deadlock-storm").catch((error: unknown) => error);
    try {
      const waiting = () =>
        sandbox.as((session) =>
          session.query(
            "select 1 from pg_stat_activity where application_name = 'pgkeep fault deadlock-storm' and wait_event_type = 'Lock'",
          ),
        );
      await expect.poll(waiting, patience).not.toEqual([]);
      await expect(repair("deadlock-storm")).resolves.toMatchObject({ outcome: "repaired" });
      expect(await storm).toMatchObject({ code: "unreachable" });
    } finally {
      await repair("lock-pile-up");
    }
  });

  once("what clients do goes on after a crash of the server", async () => {
    const storms = ["leak-connections", "failed-logins"];
    for (const name of storms) await apply(name);
    try {
      await apply("crash-primary");
      await repair("crash-primary");
      const leaked = () =>
        sandbox.as((session) =>
          session.query(
            "select 1 from pg_stat_activity where application_name = 'pgkeep fault leak-connections'",
          ),
        );
      await expect.poll(async () => (await leaked()).length, patience).toBeGreaterThan(2);
      await expect(apply("leak-connections")).resolves.toMatchObject({ outcome: "already-applied" });
      const before = await refusedLogins();
      await expect.poll(refusedLogins, patience).toBeGreaterThan(before);
    } finally {
      for (const name of storms) {
        await expect(repair(name)).resolves.toMatchObject({ outcome: "repaired" });
      }
    }
  });

  once("storms end with the sandbox, and leave no session", async () => {
    for (const name of ["leak-connections", "deadlock-storm", "error-storm", "failed-logins"])
      await apply(name);
    await sandbox.context.held.close();
    const left = () =>
      sandbox.as((session) =>
        session.query("select pid from pg_stat_activity where application_name like 'pgkeep fault%'"),
      );
    await expect.poll(left, patience).toEqual([]);
    for (const name of ["leak-connections", "deadlock-storm", "error-storm", "failed-logins"]) {
      await expect(repair(name)).resolves.toMatchObject({ outcome: "not-applied" });
    }
  });

  describe.skipIf(pgbouncer === null || major !== defaultMajor)(
    `with poolers${pgbouncer === null ? ` (skipped: ${noPgbouncer})` : ""}`,
    () => {
      const pooling = { ...config.pooling, poolSize: 4, reservePoolSize: 2, borrowTimeoutSeconds: 2 };
      const statsLogin = { user: "pgkeep_stats", password: "look" };
      beforeAll(async () => {
        const { state } = sandbox;
        state.poolers = await startPoolers([state.primary], {
          pgbouncer: pgbouncer as NonNullable<typeof pgbouncer>,
          owner: state.owner,
          directory: `${state.directory}/poolers`,
          database: state.database,
          pooling,
          logins: [state.application.writer],
          statsLogin,
        });
      });
      afterAll(async () => {
        await Promise.all((sandbox.state.poolers ?? []).map(stopPooler));
        sandbox.state.poolers = null;
      });

      const pools = async () => {
        const port = sandbox.state.poolers?.[0]?.port ?? 0;
        const console = await openPoolerConsole({
          host: "127.0.0.1",
          port,
          database: "pgbouncer",
          ...statsLogin,
        });
        try {
          const rows = (await console.show("POOLS")) ?? [];
          const pool = rows.find(({ user }) => user === sandbox.state.application.writer.user);
          return { servers: Number(pool?.sv_active ?? 0), waiting: Number(pool?.cl_waiting ?? 0) };
        } finally {
          await console.close();
        }
      };

      const through = async () => {
        const session = await connect(
          {
            host: "127.0.0.1",
            port: sandbox.state.poolers?.[0]?.port ?? 0,
            database: sandbox.state.database,
            ...sandbox.state.application.writer,
          },
          { pooled: true },
        );
        await session.close();
      };

      it("saturate-pooler: every server connection is taken and clients wait", async () => {
        await through();
        await around(
          "saturate-pooler",
          async ({ details }) => {
            expect(details).toMatchObject({ holding: 6, serverConnections: 6 });
            expect(await pools()).toMatchObject({ servers: 6 });
            await expect.poll(async () => (await pools()).waiting, patience).toBeGreaterThan(0);
            await expect(through()).rejects.toMatchObject({ code: "unreachable" });
          },
          through,
        );
      });

      it("crash-pooler:primary: clients of the primary's pooler are refused, the server is not", async () => {
        await around(
          "crash-pooler:primary",
          async ({ details }) => {
            expect(details.pooler).toBe("primary");
            await expect(through()).rejects.toMatchObject({ code: "unreachable" });
            await sandbox.as(async () => {});
          },
          through,
        );
      });
    },
  );
});

function sampleOf(report: HealthReport): PreviousSample {
  return {
    sample: {
      takenAt: new Date(report.takenAt),
      resetAt: report.resetAt === null ? null : new Date(report.resetAt),
      counters: report.counters,
    },
  };
}
