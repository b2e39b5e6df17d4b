import { describe, expect, it } from "vitest";
import { databaseConfigSchema } from "../../../lib/config/schema.ts";
import type { Endpoint } from "../../../lib/ports/databases.ts";
import type { RoutedReplica, RoutingDocument } from "../../../lib/ports/routing.ts";
import { seededRandom } from "../../../lib/sandbox/application/random.ts";
import {
  runWorkload,
  startWorkload,
  type WorkloadCounters,
  type WorkloadOptions,
} from "../../../lib/sandbox/application/workload.ts";
import { runFault } from "../../../lib/sandbox/faults/index.ts";
import {
  crashPooler,
  findPgbouncer,
  noPgbouncer,
  startPooler,
  stopPooler,
} from "../../../lib/sandbox/pooler.ts";
import { defaultMajor } from "../../helpers/postgres.ts";
import { useShopSandbox } from "../../helpers/shop-sandbox.ts";

const pgbouncer = await findPgbouncer();

describe("the numbers that decide what happens", () => {
  it("are the same for the same seed, spread over the range, and others for another seed", () => {
    const draw = (seed: number) => {
      const random = seededRandom(seed);
      return Array.from({ length: 2_000 }, () => random.integer(1, 10));
    };
    expect(draw(7)).toEqual(draw(7));
    expect(draw(7)).not.toEqual(draw(8));
    for (let number = 1; number <= 10; number++) {
      const share = draw(7).filter((drawn) => drawn === number).length;
      expect(share).toBeGreaterThan(140);
      expect(share).toBeLessThan(260);
    }
  });
});

describe("the workload", () => {
  const sandbox = useShopSandbox(defaultMajor, { replicas: 2, database: `o'shop "é"` });

  const endpoint = (port: number): Endpoint => ({ host: "127.0.0.1", port });
  const at = (counters: WorkloadCounters, port: number) => counters.byEndpoint[`127.0.0.1:${port}`];

  function document(
    weights: readonly number[],
    changes: { primary?: Endpoint; servesReads?: boolean } = {},
  ): RoutingDocument {
    const { state } = sandbox;
    const since = "2026-01-01T00:00:00.000Z";
    return {
      formatVersion: 1,
      database: state.database,
      version: 1,
      publishedAt: since,
      validForSeconds: 180,
      basis: "probed",
      systemIdentifier: null,
      reason: "",
      primary: {
        endpoint: changes.primary ?? endpoint(state.primary.port),
        via: "direct",
        reachable: true,
        servesReads: changes.servesReads ?? false,
        reason: "",
      },
      replicas: state.replicas.map(
        (replica, index): RoutedReplica => ({
          name: replica.name,
          endpoint: endpoint(replica.port),
          via: "direct",
          state: (weights[index] ?? 0) > 0 ? "serving" : "unreachable",
          reason: "",
          lagBytes: 0,
          lagSeconds: 0,
          caughtUpAt: null,
          weight: weights[index] ?? 0,
          since,
        }),
      ),
    };
  }

  const options = (routing: () => RoutingDocument | undefined): WorkloadOptions => ({
    database: sandbox.state.database,
    primary: endpoint(sandbox.state.primary.port),
    logins: sandbox.state.application,
    routing: async () => routing(),
  });
  const count = (sql: string) =>
    sandbox.as(async (session) => (await session.query<{ count: number }>(sql))[0]?.count ?? -1);

  async function untilRows(expected: boolean, sql: string): Promise<void> {
    await expect.poll(async () => (await count(sql)) > 0, { timeout: 15_000 }).toBe(expected);
  }

  it("does everything that it knows, without an error and without breaking a rule of the shop", async () => {
    const before = await count("select count(*) from shop.orders");
    const pieces = () => count("select sum(quantity)::int as count from shop.stock");
    const inStock = await pieces();
    const counters = await runWorkload({ ...options(() => undefined), operations: 400, clients: 8, seed: 3 });
    expect(counters).toMatchObject({ errors: 0, lastError: null });
    expect(counters.writes + counters.reads + counters.reports).toBe(400);
    expect(counters.writes).toBeGreaterThan(100);
    expect(counters.reads).toBeGreaterThan(150);
    expect(counters.reports).toBeGreaterThan(5);
    expect(at(counters, sandbox.state.primary.port)).toEqual({ operations: 400, errors: 0 });

    expect(await count("select count(*) from shop.orders")).toBeGreaterThan(before + 5);
    const ordered = await count(
      `select sum(quantity)::int as count from shop.order_items l join shop.orders o on o.id = l.order_id
        where o.placed_at > now() - interval '1 minute'`,
    );
    const restocked = inStock - ordered - (await pieces());
    // What left the warehouses is what was ordered, but for restocked pieces in fifties.
    expect(Math.abs(restocked % 50)).toBe(0);
    expect(
      await count(
        `select count(*) from shop.orders o where total_cents <>
           (select sum(quantity * unit_price_cents) from shop.order_items where order_id = o.id)`,
      ),
    ).toBe(0);
    for (const changed of ["stock", "payments", "shipments", "reviews", "carts"]) {
      const moved = { stock: "updated_at", payments: "captured_at", shipments: "shipped_at" }[changed];
      const recent = await count(
        `select count(*) from shop.${changed} where ${moved ?? "created_at"} > now() - interval '1 minute'`,
      );
      expect(recent, changed).toBeGreaterThan(0);
    }
  });

  it("reads where the routing document says, by weight, and writes to the primary only", async () => {
    const { primary, replicas } = sandbox.state;
    const counters = await runWorkload({ ...options(() => document([75, 25])), operations: 400 });
    expect(counters.errors).toBe(0);
    expect(at(counters, primary.port)?.operations).toBe(counters.writes);
    const [heavy, light] = replicas.map(({ port }) => at(counters, port)?.operations ?? 0);
    expect((heavy ?? 0) + (light ?? 0)).toBe(counters.reads + counters.reports);
    expect(heavy ?? 0).toBeGreaterThan((light ?? 0) * 1.8);

    const none = await runWorkload({
      ...options(() => document([0, 0], { servesReads: true })),
      operations: 40,
    });
    expect(at(none, primary.port)?.operations).toBe(40);
  });

  it("counts what cannot be read when no server may serve reads, and goes on writing", async () => {
    const counters = await runWorkload({ ...options(() => document([0, 0])), operations: 40 });
    expect(counters.reads + counters.reports).toBe(0);
    expect(counters.writes).toBeGreaterThan(5);
    expect(counters.errors).toBe(40 - counters.writes);
    expect(counters.lastError?.message).toMatch(/names no server for reads/);
  });

  it("survives the loss of a replica and of the primary, and their return", async () => {
    const { primary, replicas } = sandbox.state;
    const [first, second] = replicas.map(({ port }) => port) as [number, number];
    const workload = startWorkload({ ...options(() => document([50, 50])), ratePerSecond: 200, clients: 3 });
    const grown = async (read: (counters: WorkloadCounters) => number) => {
      const from = read(workload.counters());
      await expect.poll(() => read(workload.counters()), { timeout: 15_000 }).toBeGreaterThan(from + 10);
    };
    try {
      await grown((counters) => at(counters, first)?.operations ?? 0);
      await runFault({ name: "crash-replica" }, sandbox.context);
      await expect.poll(() => at(workload.counters(), first)?.errors ?? 0).toBeGreaterThan(0);
      await grown((counters) => at(counters, second)?.operations ?? 0);
      await grown((counters) => counters.writes);
      await runFault({ name: "crash-replica", repair: true }, sandbox.context);
      await grown((counters) => at(counters, first)?.operations ?? 0);

      await runFault({ name: "crash-primary" }, sandbox.context);
      await expect
        .poll(() => at(workload.counters(), primary.port)?.errors ?? 0, { timeout: 10_000 })
        .toBeGreaterThan(0);
      await grown((counters) => counters.reads);
      await runFault({ name: "crash-primary", repair: true }, sandbox.context);
      await grown((counters) => counters.writes);
    } finally {
      const last = await workload.stop();
      expect(last).toEqual(workload.counters());
    }
    await untilRows(false, "select count(*) from pg_stat_activity where application_name = 'shop'");
  });

  it("stops at once, though a statement waits for a lock, and when its caller's signal says so", async () => {
    await sandbox.as(async (session) => {
      await session.query("begin");
      await session.query("lock table shop.orders, shop.stock, shop.carts, shop.reviews, shop.events");
      const abort = new AbortController();
      const stopped = startWorkload({ ...options(() => undefined), ratePerSecond: 100 });
      const interrupted = runWorkload({
        ...options(() => undefined),
        seconds: 600,
        ratePerSecond: 100,
        signal: abort.signal,
      });
      const rejected = expect(interrupted).rejects.toThrow("enough");
      await untilRows(
        true,
        "select count(*) from pg_stat_activity where application_name = 'shop' and wait_event_type = 'Lock'",
      );
      const begun = performance.now();
      const counters = await stopped.stop();
      abort.abort(new Error("enough"));
      await rejected;
      expect(performance.now() - begun).toBeLessThan(15_000);
      expect(counters.errors).toBe(0);
      await session.query("rollback");
    });
    await untilRows(false, "select count(*) from pg_stat_activity where application_name = 'shop'");
  });

  it("ends after its time when there is nobody to talk to", async () => {
    const begun = performance.now();
    const counters = await runWorkload({
      ...options(() => document([0, 0], { primary: endpoint(1) })),
      operations: 1_000_000,
      seconds: 1,
    });
    expect(performance.now() - begun).toBeLessThan(15_000);
    expect(counters.writes).toBe(0);
    expect(counters.errors).toBeGreaterThan(3);
    // It does not hammer: each client pauses longer and longer.
    expect(counters.errors).toBeLessThan(100);
  });

  describe.skipIf(pgbouncer === null)(
    `through PgBouncer in transaction mode${pgbouncer === null ? ` (skipped: ${noPgbouncer})` : ""}`,
    () => {
      it("shares few server connections, leaves nothing on them, and comes back when the pooler was killed", async () => {
        const { state } = sandbox;
        const { writer, reporting } = state.application;
        const poolerOptions = {
          pgbouncer: pgbouncer as NonNullable<typeof pgbouncer>,
          owner: state.owner,
          directory: state.directory,
          server: { name: "primary", port: state.primary.port },
          database: state.database,
          pooling: databaseConfigSchema.parse({ pooling: { poolSize: 2, reservePoolSize: 0 } }).pooling,
          logins: [writer, reporting],
        };
        let pooler = await startPooler(poolerOptions);
        const routing = () => document([0, 0], { primary: endpoint(pooler.port), servesReads: true });
        try {
          const counters = await runWorkload({ ...options(routing), operations: 300, clients: 8 });
          expect(counters).toMatchObject({ errors: 0, lastError: null });
          expect(at(counters, pooler.port)?.operations).toBe(300);
          const servers = await sandbox.as((session) =>
            session.query<{ user: string; connections: number }>(
              "select usename::text as user, count(*) as connections from pg_stat_activity where datname = $1 and usename = any($2) group by 1",
              [state.database, [writer.user, reporting.user]],
            ),
          );
          expect(servers.length).toBeGreaterThan(0);
          for (const { user, connections } of servers) expect(connections, user).toBeLessThanOrEqual(2);

          const [left] = await sandbox.as(
            (session) =>
              session.query(
                `select current_setting('idle_in_transaction_session_timeout') as timeout,
                      (select count(*) from pg_prepared_statements where name <> '') as prepared,
                      (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()) as locks`,
              ),
            { login: writer, port: pooler.port },
          );
          expect(left).toEqual({ timeout: "2s", prepared: 0, locks: 0 });

          const workload = startWorkload({ ...options(routing), ratePerSecond: 100 });
          await expect.poll(() => workload.counters().writes, { timeout: 10_000 }).toBeGreaterThan(5);
          await crashPooler(pooler);
          await expect.poll(() => workload.counters().errors, { timeout: 10_000 }).toBeGreaterThan(0);
          pooler = await startPooler({ ...poolerOptions, port: pooler.port });
          const { writes } = workload.counters();
          await expect
            .poll(() => workload.counters().writes, { timeout: 10_000 })
            .toBeGreaterThan(writes + 5);
          await workload.stop();
        } finally {
          await stopPooler(pooler);
        }
      });
    },
  );
});
