import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { DatabaseConfig } from "../../lib/config/schema.ts";
import type { Environment } from "../../lib/environment.ts";
import type { JobResult } from "../../lib/jobs/job.ts";
import { type RoutingReport, routeReplicas } from "../../lib/jobs/route-replicas.ts";
import { runJob } from "../../lib/jobs/runner.ts";
import type { Ports } from "../../lib/ports/index.ts";
import type { MetricDatum } from "../../lib/ports/metrics.ts";
import type { RoutingDocument } from "../../lib/ports/routing.ts";
import { identifier, literal } from "../../lib/postgres/identifiers.ts";
import type { PostgresMajor } from "../../lib/postgres/versions.ts";
import { type Cluster, connectAsSuperuser, restartServer, startCluster } from "../../lib/sandbox/cluster.ts";
import { sandboxEnvironment } from "../../lib/sandbox/environment.ts";
import {
  crashPooler,
  findPgbouncer,
  noPgbouncer,
  restartPooler,
  startPoolers,
  stopPooler,
} from "../../lib/sandbox/pooler.ts";
import { sendSignal, serverProcesses } from "../../lib/sandbox/processes.ts";
import { crashServer, isRunning } from "../../lib/sandbox/server.ts";
import type { PoolerState, ServerState } from "../../lib/sandbox/state.ts";
import { configFor } from "../helpers/config.ts";
import { defaultMajor, oldestAndNewest } from "../helpers/postgres.ts";

const pgbouncer = await findPgbouncer();

/** A primary with two replicas, the monitoring role, and a pooler in front of each where the machine has PgBouncer. */
class Stage {
  cluster!: Cluster;
  environment!: Environment;
  readonly config: DatabaseConfig;
  readonly metrics: MetricDatum[] = [];

  constructor(replicas: Record<string, unknown>) {
    this.config = configFor("shop", { replicas: { warmUpSeconds: 0, ...replicas } });
  }

  async start(major: PostgresMajor): Promise<void> {
    this.cluster = await startCluster({ major, database: "shop", replicas: 2, settings: { fsync: false } });
    const { state } = this.cluster;
    await this.sql(
      state.primary,
      `create role ${identifier(state.roles.monitoring.user)} login
       password ${literal(state.roles.monitoring.password)} in role pg_monitor`,
    );
    await this.sql(state.primary, "create table public.rows (n int)");
    if (pgbouncer !== null) {
      state.poolers = await startPoolers([state.primary, ...state.replicas], {
        pgbouncer,
        owner: state.owner,
        directory: `${state.directory}/poolers`,
        database: state.database,
        pooling: this.config.pooling,
        logins: [state.roles.monitoring],
      });
    }
    this.environment = sandboxEnvironment(state, this.config);
  }

  async stop(): Promise<void> {
    await Promise.all((this.cluster?.state.poolers ?? []).map(stopPooler));
    await this.cluster?.stop();
  }

  get primary(): ServerState {
    return this.cluster.state.primary;
  }

  replica(number: 1 | 2): ServerState {
    return this.cluster.state.replicas[number - 1] as ServerState;
  }

  pooler(name: string): PoolerState {
    return this.cluster.state.poolers?.find((pooler) => pooler.name === name) as PoolerState;
  }

  async sql<Row>(server: ServerState, text: string): Promise<Row[]> {
    const session = await connectAsSuperuser(this.cluster.state, "shop", server.port);
    try {
      return await session.query<Row>(text);
    } finally {
      await session.close();
    }
  }

  async run(options: { dryRun?: boolean; ports?: Partial<Ports> } = {}): Promise<JobResult> {
    const ports: Ports = {
      ...this.environment.ports,
      metrics: { put: async (data) => void this.metrics.push(...data) },
      ...options.ports,
    };
    return runJob(routeReplicas, { ports, config: this.config, dryRun: options.dryRun === true });
  }

  /** Runs the job, which must succeed, and gives what is published then. */
  async publish(): Promise<RoutingDocument> {
    const result = await this.run();
    expect(result).toMatchObject({ outcome: "succeeded" });
    const document = (await this.environment.ports.routing?.read()) as RoutingDocument;
    expect(report(result)).toEqual({ published: true, because: null, document });
    return document;
  }

  /** Everything runs, streams and is routed to again. */
  async restore(): Promise<void> {
    const { state } = this.cluster;
    for (const server of [state.primary, ...state.replicas]) {
      for (const pid of await serverProcesses(server.dataDirectory)) sendSignal(pid, "SIGCONT");
      if (!(await isRunning(server.dataDirectory))) await restartServer(state, server);
    }
    for (const replica of state.replicas) await this.sql(replica, "select pg_wal_replay_resume()");
    await this.settle();
  }

  /** Pauses replay there, really: asking for it takes effect with the next record. Then writes 1 MB of WAL. */
  async fallBehind(number: 1 | 2): Promise<void> {
    await this.sql(this.replica(number), "select pg_wal_replay_pause()");
    for (let paused = false; !paused; ) {
      await this.sql(this.primary, "insert into public.rows values (0)");
      const [row] = await this.sql<{ state: string }>(
        this.replica(number),
        "select pg_get_wal_replay_pause_state() as state",
      );
      paused = row?.state === "paused";
    }
    await this.sql(this.primary, "insert into public.rows select generate_series(1, 20000)");
  }

  /** Waits until both replicas stream and have everything. */
  async settle(): Promise<void> {
    const until = Date.now() + 20_000;
    for (;;) {
      const [row] = await this.sql<{ streaming: number }>(
        this.primary,
        `select count(*)::int as streaming from pg_stat_replication
          where state = 'streaming' and replay_lsn >= pg_current_wal_lsn()`,
      );
      if (row?.streaming === 2) return;
      if (Date.now() > until) throw new Error("the replicas did not catch up");
      await new Promise((done) => setTimeout(done, 50));
    }
  }
}

function report(result: JobResult): RoutingReport {
  return result.report as unknown as RoutingReport;
}

function weights(document: RoutingDocument): Record<string, number> {
  return Object.fromEntries(document.replicas.map(({ name, weight }) => [name, weight]));
}

function server(document: RoutingDocument, name: string) {
  return document.replicas.find((replica) => replica.name === name);
}

const both = { "replica-1": 50, "replica-2": 50 };

describe.each(oldestAndNewest.filter((major) => major !== defaultMajor))(
  "route-replicas on PostgreSQL %i",
  (major) => {
    const stage = new Stage({});
    beforeAll(() => stage.start(major));
    afterAll(() => stage.stop());

    it("routes to the replicas that are there", async () => {
      expect(weights(await stage.publish())).toEqual(both);
      await crashServer(stage.replica(1).dataDirectory);
      expect(weights(await stage.publish())).toEqual({ "replica-1": 0, "replica-2": 100 });
      await restartServer(stage.cluster.state, stage.replica(1));
      await stage.settle();
      const document = await stage.publish();
      expect(weights(document)).toEqual(both);
      expect(document.systemIdentifier).toMatch(/^\d{15,}$/);
      expect(
        document.replicas.every(
          ({ reason }) => reason === "it has replayed all that the primary has written",
        ),
      ).toBe(true);
    });
  },
);

describe("route-replicas", () => {
  const stage = new Stage({});
  beforeAll(() => stage.start(defaultMajor));
  afterEach(() => stage.restore());
  afterAll(() => stage.stop());

  it("publishes which replicas serve, and measures each", async () => {
    stage.metrics.length = 0;
    const document = await stage.publish();
    expect(document).toMatchObject({
      database: "test",
      basis: "probed",
      reason: "2 of 2 replicas may serve reads",
      primary: { reachable: true, servesReads: false },
    });
    expect(weights(document)).toEqual(both);
    const measured = stage.metrics
      .filter(({ name }) => name.startsWith("Replica"))
      .map(({ name, value, dimensions }) => `${name} ${dimensions.Replica} ${value}`);
    expect(measured).toEqual([
      "ReplicaLagBytes replica-1 0",
      "ReplicaLagSeconds replica-1 0",
      "ReplicaServing replica-1 1",
      "ReplicaLagBytes replica-2 0",
      "ReplicaLagSeconds replica-2 0",
      "ReplicaServing replica-2 1",
    ]);
  });

  it("takes a killed replica out at once, and lets it serve again after it is back", async () => {
    await stage.publish();
    await crashServer(stage.replica(1).dataDirectory);
    const document = await stage.publish();
    expect(weights(document)).toEqual({ "replica-1": 0, "replica-2": 100 });
    expect(server(document, "replica-1")).toMatchObject({ state: "unreachable", lagBytes: null });
    await stage.restore();
    expect(weights(await stage.publish())).toEqual(both);
  });

  it("takes a replica out whose replay is paused, says how far behind it is, and lets it serve again", async () => {
    await stage.publish();
    await stage.sql(stage.replica(2), "select pg_wal_replay_pause()");
    await stage.sql(stage.primary, "insert into public.rows select generate_series(1, 10000)");
    const document = await stage.publish();
    expect(weights(document)).toEqual({ "replica-1": 100, "replica-2": 0 });
    const paused = server(document, "replica-2");
    expect(paused?.state).toBe("lagging");
    expect(paused?.lagBytes).toBeGreaterThan(500_000);
    expect(paused?.lagSeconds).toBeGreaterThan(0);
    expect(paused?.reason).toMatch(/^its replay is paused; it is behind by \d/);
    await stage.restore();
    expect(weights(await stage.publish())).toEqual(both);
  });

  it("takes a frozen replica out without waiting for it for long", async () => {
    await stage.publish();
    for (const pid of await serverProcesses(stage.replica(1).dataDirectory)) sendSignal(pid, "SIGSTOP");
    const begun = Date.now();
    const document = await stage.publish();
    expect(Date.now() - begun).toBeLessThan(8_000);
    expect(server(document, "replica-1")).toMatchObject({
      state: "unreachable",
      reason: "replica-1 did not let us in within 3 s",
    });
    await stage.restore();
    expect(weights(await stage.publish())).toEqual(both);
  });

  it("goes on while the primary is down: unlocked, unrecorded, replicas serving", async () => {
    await stage.publish();
    await crashServer(stage.primary.dataDirectory);
    const result = await stage.run();
    expect(result).toMatchObject({ outcome: "succeeded", recorded: false });
    const { document } = report(result);
    expect(document.primary).toMatchObject({ reachable: false, servesReads: false });
    expect(weights(document)).toEqual(both);
    expect(server(document, "replica-1")).toMatchObject({ lagBytes: null, lagSeconds: null });
    await stage.restore();
    const after = await stage.publish();
    expect(after.primary.reachable).toBe(true);
    expect(weights(after)).toEqual(both);
  });

  it("goes on while the primary is frozen, and does not wait for it for long", async () => {
    await stage.publish();
    for (const pid of await serverProcesses(stage.primary.dataDirectory)) sendSignal(pid, "SIGSTOP");
    const begun = Date.now();
    const document = await stage.publish();
    expect(Date.now() - begun).toBeLessThan(14_000);
    expect(document.primary).toMatchObject({
      reachable: false,
      reason: "the primary did not let us in within 3 s",
    });
    expect(weights(document)).toEqual(both);
  });

  it("lets runs compete while there is no primary to lock on, and loses no version", async () => {
    const before = await stage.publish();
    await crashServer(stage.primary.dataDirectory);
    const results = await Promise.all([1, 2, 3, 4].map(() => stage.run()));
    expect(results.map(({ outcome }) => outcome)).toEqual(Array(4).fill("succeeded"));
    const published = results.map(report).filter((one) => one.published);
    expect(published.length).toBeGreaterThan(0);
    const document = await stage.environment.ports.routing?.read();
    expect(document?.version).toBe(before.version + published.length);
    expect(new Set(published.map((one) => one.document.version)).size).toBe(published.length);
  });

  it("lets the primary serve while no replica does", async () => {
    await stage.publish();
    await Promise.all([1, 2].map((number) => crashServer(stage.replica(number as 1 | 2).dataDirectory)));
    const document = await stage.publish();
    expect(document.primary.servesReads).toBe(true);
    expect(weights(document)).toEqual({ "replica-1": 0, "replica-2": 0 });
    await stage.restore();
    expect((await stage.publish()).primary.servesReads).toBe(false);
  });

  it("fails and keeps what is published when no server answers", async () => {
    const before = await stage.publish();
    const { state } = stage.cluster;
    await Promise.all(
      [state.primary, ...state.replicas].map(({ dataDirectory }) => crashServer(dataDirectory)),
    );
    const result = await stage.run();
    expect(result.outcome).toBe("failed");
    expect(result.reason).toMatch(
      /^no server could be probed, so what was decided at .* stands; the primary: cannot reach 127/,
    );
    expect(report(result)).toMatchObject({
      published: false,
      document: { ...before, basis: "kept", reason: result.reason },
    });
    expect(await stage.environment.ports.routing?.read()).toEqual(before);
    await stage.restore();
    expect(weights(await stage.publish())).toEqual(both);
  });

  it("sees no lag under a steady load of writes", async () => {
    await stage.publish();
    const session = await connectAsSuperuser(stage.cluster.state, "shop");
    let writing = true;
    const load = (async () => {
      while (writing) await session.query("insert into public.rows values (1)");
    })();
    try {
      for (let run = 0; run < 5; run++) {
        const document = await stage.publish();
        expect(weights(document)).toEqual(both);
        expect(Math.max(...document.replicas.map(({ lagSeconds }) => lagSeconds ?? 99))).toBeLessThan(1.5);
      }
    } finally {
      writing = false;
      await load;
      await session.close();
    }
  });

  it("works for a role that may not look into the WAL receiver", async () => {
    const { monitoring } = stage.cluster.state.roles;
    await stage.sql(stage.primary, `revoke pg_monitor from ${identifier(monitoring.user)}`);
    try {
      const document = await stage.publish();
      expect(weights(document)).toEqual(both);
      expect(document.systemIdentifier).toMatch(/^\d{15,}$/);
    } finally {
      await stage.sql(stage.primary, `grant pg_monitor to ${identifier(monitoring.user)}`);
    }
  });

  it("publishes nothing in a dry run", async () => {
    const before = await stage.publish();
    const result = await stage.run({ dryRun: true });
    expect(report(result)).toMatchObject({ published: false, because: "dry run" });
    expect(report(result).document.version).toBe(before.version + 1);
    expect(await stage.environment.ports.routing?.read()).toEqual(before);
  });

  it("yields to a run that published meanwhile", async () => {
    const before = await stage.publish();
    const routing = stage.environment.ports.routing as NonNullable<Ports["routing"]>;
    const result = await stage.run({
      ports: {
        routing: {
          read: () => routing.read(),
          publish: async (document, expected) => {
            await routing.publish({ ...document, reason: "the faster run" }, expected);
            return routing.publish(document, expected);
          },
        },
      },
    });
    expect(result.outcome).toBe("succeeded");
    expect(report(result)).toMatchObject({
      published: false,
      because: "another run published meanwhile",
      document: { version: before.version + 1, reason: "the faster run" },
    });
  });

  it.skipIf(pgbouncer === null)(
    `sends clients to the server itself while its pooler is dead${pgbouncer === null ? ` (skipped: ${noPgbouncer})` : ""}`,
    async () => {
      const pooled = await stage.publish();
      expect([pooled.primary.via, ...pooled.replicas.map(({ via }) => via)]).toEqual([
        "pooler",
        "pooler",
        "pooler",
      ]);
      expect(server(pooled, "replica-1")?.endpoint.port).toBe(stage.pooler("replica-1").port);
      await crashPooler(stage.pooler("replica-1"));
      await crashPooler(stage.pooler("primary"));
      const direct = await stage.publish();
      expect(weights(direct)).toEqual(both);
      expect(server(direct, "replica-1")).toMatchObject({
        via: "direct",
        endpoint: { port: stage.replica(1).port },
        reason: expect.stringContaining("its pooler does not answer"),
      });
      expect(direct.primary).toMatchObject({ via: "direct", endpoint: { port: stage.primary.port } });
      expect(server(direct, "replica-2")?.via).toBe("pooler");
      const { state } = stage.cluster;
      state.poolers = await Promise.all(
        (state.poolers ?? []).map((pooler) =>
          pooler.name === "replica-2"
            ? pooler
            : restartPooler(pooler, {
                pgbouncer: pgbouncer as NonNullable<typeof pgbouncer>,
                owner: state.owner,
              }),
        ),
      );
      const again = await stage.publish();
      expect([again.primary.via, ...again.replicas.map(({ via }) => via)]).toEqual([
        "pooler",
        "pooler",
        "pooler",
      ]);
    },
  );
});

describe("route-replicas with warm-up and a lag limit", () => {
  const stage = new Stage({
    warmUpSeconds: 1,
    maxLagBytes: 100_000,
    resumeLagBytes: 1_000,
    primaryServesReads: "never",
  });
  beforeAll(() => stage.start(defaultMajor));
  afterAll(() => stage.stop());

  it("watches a replica that came back before it serves", async () => {
    await stage.publish();
    await crashServer(stage.replica(1).dataDirectory);
    await stage.publish();
    await restartServer(stage.cluster.state, stage.replica(1));
    await stage.settle();
    const warming = await stage.publish();
    expect(server(warming, "replica-1")).toMatchObject({ state: "warming", weight: 0 });
    await new Promise((done) => setTimeout(done, 1_000));
    expect(weights(await stage.publish())).toEqual(both);
  });

  it("takes a replica out that has lost its stream and falls behind, though it replays all it received", async () => {
    const { state } = stage.cluster;
    await stage.sql(stage.replica(1), "alter system set primary_conninfo = 'host=127.0.0.1 port=1'");
    await stage.sql(stage.replica(1), "select pg_reload_conf()");
    await new Promise((done) => setTimeout(done, 300));
    await stage.sql(state.primary, "insert into public.rows select generate_series(1, 20000)");
    const document = await stage.publish();
    expect(weights(document)).toEqual({ "replica-1": 0, "replica-2": 100 });
    expect(server(document, "replica-1")?.reason).toMatch(
      /behind by .* but it receives no WAL stream; the limit is 97\.7 KiB/,
    );
    await stage.sql(stage.replica(1), "alter system reset primary_conninfo");
    await stage.sql(stage.replica(1), "select pg_reload_conf()");
    await stage.settle();
    await stage.publish();
    await new Promise((done) => setTimeout(done, 1_000));
    expect(weights(await stage.publish())).toEqual(both);
  });

  it("lets the least bad replica serve when all lag and the primary never may", async () => {
    await stage.fallBehind(1);
    await stage.fallBehind(2);
    const document = await stage.publish();
    expect(document.reason).toBe("no server is fit to serve reads; replica-2 is the least bad");
    expect(weights(document)).toEqual({ "replica-1": 0, "replica-2": 100 });
    expect(document.primary.servesReads).toBe(false);
    for (const number of [1, 2] as const)
      await stage.sql(stage.replica(number), "select pg_wal_replay_resume()");
    await stage.settle();
    await stage.publish();
    await new Promise((done) => setTimeout(done, 1_000));
    expect(weights(await stage.publish())).toEqual(both);
  });

  it("sends no reads to a replica that was promoted", async () => {
    await stage.sql(stage.replica(1), "select pg_promote()");
    const document = await stage.publish();
    expect(server(document, "replica-1")).toMatchObject({
      state: "unreachable",
      weight: 0,
      reason: "it is not a standby any more: it takes writes of its own",
    });
    expect(weights(document)["replica-2"]).toBe(100);
  });
});
