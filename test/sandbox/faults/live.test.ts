import { describe, expect, it } from "vitest";
import { catalogue } from "../../../lib/alarms/catalogue.ts";
import { databaseConfigSchema } from "../../../lib/config/schema.ts";
import { UsageError } from "../../../lib/errors.ts";
import { connect } from "../../../lib/postgres/connect.ts";
import { hasSqlState } from "../../../lib/postgres/errors.ts";
import { answersLogin } from "../../../lib/postgres/probe.ts";
import { SqlState } from "../../../lib/postgres/sqlstate.ts";
import type { FaultReport } from "../../../lib/sandbox/faults/fault.ts";
import { faultNamed, faults, runFault } from "../../../lib/sandbox/faults/index.ts";
import { findPgbouncer, noPgbouncer, startPoolers, stopPooler } from "../../../lib/sandbox/pooler.ts";
import { isRunning } from "../../../lib/sandbox/server.ts";
import { oldestAndNewest } from "../../helpers/postgres.ts";
import { useShopSandbox } from "../../helpers/shop-sandbox.ts";

const pgbouncer = await findPgbouncer();

describe("the list of faults", () => {
  it("has each name once, with a summary", () => {
    const names = faults.map((fault) => fault.name);
    expect(new Set(names).size).toBe(names.length);
    for (const fault of faults) expect(fault.summary.length).toBeGreaterThan(30);
  });

  it("names alarms that the catalogue has", () => {
    const entries = new Set(catalogue.map(({ name }) => name));
    expect(faults.flatMap(({ alarms }) => alarms).filter((name) => !entries.has(name))).toEqual([]);
    expect(faults.filter(({ alarms }) => alarms.length === 0).map(({ name }) => name)).toEqual([]);
  });

  it("answers an unknown name with every name and the nearest", () => {
    const unknown = (name: string) => {
      try {
        faultNamed(name);
      } catch (error) {
        return error;
      }
      return undefined;
    };
    expect(unknown("lose-wall")).toBeInstanceOf(UsageError);
    expect(unknown("lose-wall")).toMatchObject({
      message: expect.stringContaining("crash-primary, crash-replica") as string,
      remedy: "did you mean lose-wal?",
    });
  });
});

describe.each(oldestAndNewest)("faults of a running server, PostgreSQL %i", (major) => {
  const sandbox = useShopSandbox(major, {
    database: 'the "shop" of O\'Brien\n%d — ü',
    settings: { max_connections: 40 },
  });
  const apply = (name: string) => runFault({ name }, sandbox.context);
  const repair = (name: string) => runFault({ name, repair: true }, sandbox.context);

  /** Each fault twice in each direction: the second time changes nothing and says so. */
  async function around(
    name: string,
    broken: (report: FaultReport) => Promise<void>,
    whole: () => Promise<void>,
  ): Promise<void> {
    await expect(repair(name)).resolves.toMatchObject({ fault: name, outcome: "not-applied" });
    const report = await apply(name);
    expect(report).toMatchObject({ fault: name, outcome: "applied" });
    await broken(report);
    await expect(apply(name)).resolves.toMatchObject({ outcome: "already-applied" });
    await expect(repair(name)).resolves.toMatchObject({ outcome: "repaired" });
    await whole();
    await expect(repair(name)).resolves.toMatchObject({ outcome: "not-applied" });
  }

  const sessions = (where: string) => () =>
    sandbox.as((session) =>
      session.query<{ pid: number }>(
        `select pid from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid() and ${where}`,
      ),
    );

  it("long-transaction: a day-long statement holds the xmin horizon", async () => {
    const seen = sessions("state = 'active' and backend_xmin is not null and query like '%pg_sleep%'");
    const deadAfterVacuum = () =>
      sandbox.as(async (session) => {
        await session.query("vacuum shop.carts");
        const [row] = await session.query<{ dead: number }>(
          "select dead_tuple_count as dead from public.pgstattuple('shop.carts'::regclass)",
        );
        return row?.dead;
      });
    await around(
      "long-transaction",
      async ({ details }) => {
        expect(await seen()).toEqual([{ pid: details.pid }]);
        await sandbox.as((session) => session.query("update shop.carts set created_at = created_at"));
        expect(await deadAfterVacuum()).toBe(100);
      },
      async () => {
        expect(await seen()).toEqual([]);
        // The replica's feedback holds the horizon until its next message.
        await expect.poll(deadAfterVacuum, { timeout: 15_000 }).toBe(0);
      },
    );
  });

  it("idle-in-transaction: outlives the role's own timeout with its row lock", async () => {
    const seen = sessions("state = 'idle in transaction'");
    await around(
      "idle-in-transaction",
      async ({ details }) => {
        await new Promise((resolve) => setTimeout(resolve, 2_300));
        expect(await seen()).toEqual([{ pid: details.pid }]);
        const blocked = sandbox.as((session) =>
          session.query("select 1 from shop.categories where id = 1 for update nowait"),
        );
        await expect(blocked).rejects.toSatisfy((error) => hasSqlState(error, SqlState.lockNotAvailable));
      },
      async () => expect(await seen()).toEqual([]),
    );
  });

  it("lock-pile-up: every blocked session leads to one root", async () => {
    const blocked = sessions("cardinality(pg_blocking_pids(pid)) > 0");
    await around(
      "lock-pile-up",
      async ({ details }) => {
        const pids = details.blockedPids as number[];
        expect((await blocked()).map(({ pid }) => pid).sort()).toEqual([...pids].sort());
        expect(pids.length).toBeGreaterThanOrEqual(6);
        const roots = await sandbox.as((session) =>
          session.query(
            `with recursive chain (pid) as (
               select unnest($1::int[]) union select b from chain, unnest(pg_blocking_pids(chain.pid)) b)
             select pid, (select state from pg_stat_activity a where a.pid = chain.pid) as state
               from chain where cardinality(pg_blocking_pids(pid)) = 0`,
            [pids],
          ),
        );
        expect(roots).toEqual([{ pid: details.rootPid, state: "idle in transaction" }]);
        // A chain, not only a crowd: somebody waits for somebody who waits.
        const depths = await sandbox.as((session) =>
          session.query(
            `select distinct pg_blocking_pids(pid) @> array[$2::int] as at_root from unnest($1::int[]) pid`,
            [pids, details.rootPid],
          ),
        );
        expect(depths).toHaveLength(2);
      },
      async () => expect(await blocked()).toEqual([]),
    );
  });

  it("fill-connections: the application is refused, the superuser is not", async () => {
    const { state } = sandbox;
    const asApplication = () => sandbox.as(async () => {}, { login: state.application.writer });
    await around(
      "fill-connections",
      async ({ details }) => {
        expect(details.opened).toBeGreaterThan(20);
        await expect(asApplication()).rejects.toSatisfy((error) =>
          hasSqlState(error, SqlState.tooManyConnections),
        );
        expect(details.monitoringGetsIn).toBe(false);
      },
      asApplication,
    );
  });

  it("abandon-slot: an inactive slot from which WAL is kept", async () => {
    const slots = () =>
      sandbox.as((session) =>
        session.query(
          "select active, restart_lsn is not null as reserves from pg_replication_slots where slot_name = 'pgkeep_fault_abandoned'",
        ),
      );
    await around(
      "abandon-slot",
      async () => expect(await slots()).toEqual([{ active: false, reserves: true }]),
      async () => expect(await slots()).toEqual([]),
    );
  });

  it("pause-replay: the replica shows an older state until it is repaired", async () => {
    const [replica] = sandbox.state.replicas;
    const onReplica = () =>
      sandbox.as(
        async (session) =>
          (await session.query<{ body: string }>("select body from shop.reviews where id = 1"))[0]?.body,
        { port: replica?.port ?? 0 },
      );
    const write = (body: string) =>
      sandbox.as((session) => session.query("update shop.reviews set body = $1 where id = 1", [body]));
    await write("before");
    await expect.poll(onReplica, { timeout: 10_000 }).toBe("before");
    await around(
      "pause-replay",
      async () => {
        await write("meanwhile");
        await new Promise((resolve) => setTimeout(resolve, 500));
        expect(await onReplica()).toBe("before");
      },
      async () => {
        await expect.poll(onReplica, { timeout: 10_000 }).toBe("meanwhile");
      },
    );
  });

  it("crash-replica: nobody answers on its port until it is repaired, and then it catches up", async () => {
    const [replica] = sandbox.state.replicas;
    const rows = () =>
      sandbox.as((session) => session.query("select 1 from shop.countries where code = 'IS'"), {
        port: replica?.port ?? 0,
      });
    await around(
      "crash-replica",
      async () => {
        await expect(rows()).rejects.toMatchObject({ code: "unreachable" });
        await sandbox.as((session) =>
          session.query("insert into shop.countries values ('IS', 'Iceland', 'ISK', 24)"),
        );
      },
      async () => {
        await expect.poll(rows, { timeout: 15_000 }).toHaveLength(1);
      },
    );
  });

  it.skipIf(pgbouncer === null)(
    `crash-pooler: its port is dead, the server behind it is not${pgbouncer === null ? ` (skipped: ${noPgbouncer})` : ""}`,
    async () => {
      const { state } = sandbox;
      const [replica] = state.replicas;
      state.poolers = await startPoolers([state.primary, ...state.replicas], {
        pgbouncer: pgbouncer as NonNullable<typeof pgbouncer>,
        owner: state.owner,
        directory: `${state.directory}/poolers`,
        database: "postgres",
        pooling: databaseConfigSchema.parse({}).pooling,
        logins: [state.application.writer],
      });
      const answers = () =>
        Promise.all(
          [...(state.poolers ?? []), ...state.replicas].map(({ port }) =>
            answersLogin({ host: "127.0.0.1", port }, 1_000),
          ),
        );
      try {
        await around(
          "crash-pooler",
          async ({ details }) => {
            expect(details.pooler).toBe(replica?.name);
            expect(await answers()).toEqual([true, false, true]);
          },
          async () => expect(await answers()).toEqual([true, true, true]),
        );
      } finally {
        await Promise.all(state.poolers.map(stopPooler));
        state.poolers = null;
      }
    },
  );

  it("crash-primary: ends held sessions too, and repair brings back what was committed", async () => {
    const { state } = sandbox;
    await apply("idle-in-transaction");
    await sandbox.as((session) =>
      session.query("insert into shop.countries values ('MT', 'Malta', 'EUR', 18)"),
    );
    await around(
      "crash-primary",
      async () => {
        expect(await isRunning(state.primary.dataDirectory)).toBe(false);
        await expect(apply("abandon-slot")).rejects.toMatchObject({ code: "unreachable" });
      },
      async () => {
        const rows = await sandbox.as((session) =>
          session.query("select 1 from shop.countries where code = 'MT'"),
        );
        expect(rows).toHaveLength(1);
      },
    );
    await expect(repair("idle-in-transaction")).resolves.toMatchObject({ outcome: "not-applied" });
    await expect(apply("idle-in-transaction")).resolves.toMatchObject({ outcome: "applied" });
    await expect(repair("idle-in-transaction")).resolves.toMatchObject({ outcome: "repaired" });
  });

  it("refuses what this sandbox has no object for", async () => {
    const { context } = sandbox;
    const without = { ...context, state: { ...context.state, replicas: [] } };
    await expect(runFault({ name: "crash-replica" }, without)).rejects.toMatchObject({
      code: "refused",
      remedy: "start the sandbox with --replicas 1 or more",
    });
    await sandbox.as((session) => session.query("create database empty"));
    const empty = { ...context, state: { ...context.state, database: "empty" } };
    await expect(apply("crash-pooler")).rejects.toMatchObject({ code: "refused" });
    for (const name of ["long-transaction", "idle-in-transaction", "lock-pile-up"]) {
      await expect(runFault({ name }, empty)).rejects.toMatchObject({ code: "refused" });
    }
    await expect(apply("corrupt-page")).rejects.toMatchObject({ code: "refused" });
    await expect(apply("lose-wal")).rejects.toMatchObject({ code: "refused" });
    const left = await connect({
      host: "127.0.0.1",
      port: context.state.primary.port,
      database: "empty",
      ...context.state.superuser,
    });
    try {
      const others = await left.query(
        "select 1 from pg_stat_activity where application_name like 'pgkeep fault%'",
      );
      expect(others).toEqual([]);
    } finally {
      await left.close();
    }
  });
});
