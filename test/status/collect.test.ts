import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { sourcesOfUrl } from "../../lib/cli/status.ts";
import { applyInstall } from "../../lib/install/apply.ts";
import type { Json } from "../../lib/json.ts";
import { identifier } from "../../lib/postgres/identifiers.ts";
import { type CollectorOptions, type StatusSources, statusCollector } from "../../lib/status/collect.ts";
import type { Parts, Status } from "../../lib/status/status.ts";
import { describeStatus } from "../../lib/status/text.ts";
import { urlEnvironment } from "../../lib/url/environment.ts";
import { urlOf } from "../helpers/cli.ts";
import { configFor } from "../helpers/config.ts";
import { useServer } from "../helpers/postgres.ts";
import { alarmAnswer } from "./sample.ts";

const hostile = `"; drop table x; --`;
const never = new AbortController().signal;

describe("the status of a database", () => {
  const server = useServer();

  const sourcesOf = (database: string, more: Partial<StatusSources> = {}): StatusSources => ({
    ...sourcesOfUrl(
      urlEnvironment(
        urlOf({ host: server.host, port: server.port, database, ...server.superuser }),
        [],
        configFor(database),
      ),
    ),
    ...more,
  });
  const collect = (sources: StatusSources, options: Partial<CollectorOptions> = {}): Promise<Status> =>
    statusCollector(sources, { signal: never, ...options }).current();
  const states = ({ parts }: Status) =>
    Object.fromEntries(Object.entries(parts).map(([name, { state }]) => [name, state]));

  async function installed(): Promise<string> {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await session.query("create extension pg_stat_statements schema public");
    await applyInstall(session, configFor(database), { passwords: {} });
    await session.close();
    return database;
  }

  it("says of a database by its URL why there are no alarms, backups, routing and runs", async () => {
    const status = await collect(sourcesOf(await server.createDatabase()));
    expect(states(status)).toEqual({
      health: "known",
      alarms: "absent",
      routing: "absent",
      backups: "absent",
      drill: "absent",
      jobs: "absent",
      queries: "absent",
      sizes: "known",
      sandbox: "absent",
    });
    expect(status.parts.jobs).toMatchObject({
      reason: expect.stringContaining("the schema pgkeep is not installed"),
      remedy: "run `pgkeep install` as the master user",
    });
    expect(status.parts.alarms).toMatchObject({ reason: expect.stringContaining("CloudWatch") });
    expect(status.parts.backups).toMatchObject({ remedy: expect.stringContaining("--url") });
    expect(JSON.stringify(status)).not.toContain(server.superuser.password);
  });

  it("has every run, query and size of a database where pgkeep is installed, whatever their names are", async () => {
    const database = await installed();
    const session = await server.connect(database);
    const table = identifier(hostile);
    await session.query(
      `create table public.${table} as select n, repeat('x', 100) as text from generate_series(1, 5000) n`,
    );
    await session.query(`analyze public.${table}`);
    await session.query(`select count(*) from public.${table} where text = 'a secret value'`);
    await session.query(
      `insert into pgkeep.job_run (id, job, started_at, finished_at, outcome, seconds, report, reason, error_code) values
         ('a', 'vacuum', now() - interval '2 hours', now() - interval '2 hours', 'succeeded', 3, '{}', null, null),
         ('b', 'vacuum', now() - interval '1 hour', now(), 'failed', 1.5, '{}', $1, 'internal'),
         ('c', 'drill-restore', now() - interval '1 day', now(), 'failed', 60, $2, 'a proof failed', null)`,
      [
        `${hostile}\u001b[2J`,
        JSON.stringify({
          rtoSeconds: 42,
          rpoSeconds: 3.5,
          restoredTo: "2026-01-02T03:04:05.000Z",
          backupId: "pgkeep-shop-1",
          tablesProved: 16,
          proofs: [
            { name: "rows", ok: true, detail: "all there" },
            { name: "hash", ok: false, detail: hostile },
          ],
        }),
      ],
    );
    await session.query(
      "insert into pgkeep.job_run (id, job, started_at, outcome) values ('d', 'reindex', now(), 'running')",
    );
    await session.close();
    const status = await collect(sourcesOf(database));
    const { jobs, drill, queries, sizes } = known(status.parts);
    expect(jobs.scheduled).toBe(false);
    const job = (name: string) => jobs.jobs.find((one) => one.job === name);
    expect(job("vacuum")).toMatchObject({
      last: { outcome: "failed", seconds: 1.5, reason: `${hostile}\u001b[2J`, errorCode: "internal" },
      nextAt: expect.stringMatching(/Z$/),
    });
    expect(Date.parse(job("vacuum")?.lastSuccessAt ?? "")).toBeCloseTo(Date.now() - 7_200_000, -5);
    expect(job("reindex")).toMatchObject({ last: { outcome: "running" }, lastSuccessAt: null });
    expect(job("back-up")).toMatchObject({ last: null, lastSuccessAt: null });
    expect(drill.last).toMatchObject({
      outcome: "failed",
      rtoSeconds: 42,
      rpoSeconds: 3.5,
      tablesProved: 16,
      notAssessable: [],
      proofs: [{ ok: true }, { name: "hash", ok: false, detail: hostile }],
    });
    expect(queries.statements.some(({ statement }) => statement.includes("drop table x"))).toBe(true);
    expect(JSON.stringify(queries)).not.toContain("a secret value");
    expect("reason" in sizes.tables ? [] : sizes.tables.largest).toContainEqual(
      expect.objectContaining({ schema: "public", table: hostile }),
    );
    expect(status).toMatchObject({
      level: "trouble",
      summary: expect.stringMatching(
        /^The last restore drill failed\. .*Last run failed: vacuum, drill-restore/,
      ),
    });
    const text = describeStatus(status, (head, rows) =>
      [head, ...rows].map((row) => row.join(" | ")).join("\n"),
    ).join("\n");
    expect(text).toMatch(/^\S+, 127\.0\.0\.1:\d+\/\S+ as \S+: TROUBLE\. The last restore drill failed\./);
    expect(text).toContain(`vacuum | failed 1 h 0 min ago | 1.5 s | 2 h 0 min ago`);
    expect(text).toContain("RTO 42 s, RPO 3.5 s; 1 of 2 proofs held");
    expect(text).toContain(`hash: ${hostile}`);
    expect(text).toContain(`${hostile}\\u001b[2J`);
    expect(text).not.toContain("\u001b");
  });

  it("goes on when one part waits for a lock, another hangs, and a third one fails", async () => {
    const database = await installed();
    const locking = await server.connect(database);
    await locking.query("begin");
    await locking.query("lock table pgkeep.job_run in access exclusive mode");
    try {
      const environment = sourcesOf(database).environment;
      const began = performance.now();
      const status = await collect(
        sourcesOf(database, {
          environment: {
            ...environment,
            ports: {
              ...environment.ports,
              routing: {
                read: async () => {
                  throw new Error("the file of the routing is gone");
                },
                publish: async () => false,
              },
            },
          },
          // Answers never, and obeys no signal.
          sandbox: () => new Promise<Json>(() => {}),
        }),
        {
          timing: {
            alarms: { budgetMilliseconds: 300 },
            sandbox: { budgetMilliseconds: 300 },
            drill: { budgetMilliseconds: 500 },
          },
        },
      );
      expect(performance.now() - began).toBeLessThan(30_000);
      expect(states(status)).toMatchObject({
        alarms: "unknown",
        routing: "unknown",
        drill: "unknown",
        jobs: "unknown",
        sizes: "known",
        queries: "known",
      });
      expect(status.parts.alarms).toMatchObject({ reason: "no answer within 0.3 seconds" });
      expect(status.parts.routing).toMatchObject({ reason: "the file of the routing is gone" });
      expect(status.parts.jobs).toMatchObject({ reason: expect.stringMatching(/lock/) });
      expect(status.level).not.toBe("fine");
      expect(status.summary).toContain("Not known: alarms, routing, the last drill, jobs, the sandbox.");
      // What was given up does not wait on the server for ever.
      await expect
        .poll(
          () =>
            locking.query(
              "select pid from pg_stat_activity where wait_event_type = 'Lock' and datname = $1",
              [database],
            ),
          { timeout: 10_000 },
        )
        .toEqual([]);
    } finally {
      await locking.query("rollback");
      await locking.close();
    }
  });

  it("gives up a server that takes connections and says nothing, and lets go of them", async () => {
    const sockets = new Set<Socket>();
    const silent = createServer((socket) => {
      sockets.add(socket);
      socket
        .on("error", () => {})
        .on("close", () => sockets.delete(socket))
        .resume();
    });
    silent.listen(0, "127.0.0.1");
    await once(silent, "listening");
    const { port } = silent.address() as AddressInfo;
    const quick = { budgetMilliseconds: 500 };
    const url = `postgres://alice:secret@127.0.0.1:${port}/shop`;
    try {
      const began = performance.now();
      const status = await collect(sourcesOfUrl(urlEnvironment(url, [], configFor("shop"))), {
        timing: { health: quick, drill: quick, jobs: quick, queries: quick, sizes: quick },
      });
      expect(performance.now() - began).toBeLessThan(15_000);
      for (const name of ["health", "drill", "jobs", "queries", "sizes"] as const) {
        expect(status.parts[name]).toMatchObject({
          state: "unknown",
          reason: "no answer within 0.5 seconds",
        });
      }
      await expect.poll(() => sockets.size).toBe(0);
    } finally {
      for (const socket of sockets) socket.destroy();
      silent.close();
    }
  });

  it("asks a part that hangs no second time, and keeps what was known of it", async () => {
    let asked = 0;
    let finish: (answer: Json) => void = () => {};
    const sandbox = () => {
      asked += 1;
      return asked === 1
        ? Promise.resolve(alarmAnswer())
        : new Promise<Json>((resolve) => {
            finish = resolve;
          });
    };
    const quick = { budgetMilliseconds: 100, everyMilliseconds: 0 };
    const database = await server.createDatabase();
    const collector = statusCollector(sourcesOf(database, { sandbox }), {
      signal: never,
      restMilliseconds: 0,
      timing: { alarms: quick, sandbox: { ...quick, everyMilliseconds: 1e9 } },
    });
    asked = 0;
    const first = (await collector.current()).parts.alarms;
    // The part of the sandbox asks too, once.
    expect(first.state === "known" || asked === 2).toBe(true);
    for (let time = 0; time < 3; time += 1) await collector.current();
    const before = asked;
    const { alarms } = (await collector.current()).parts;
    expect(asked).toBe(before);
    expect(alarms).toMatchObject({ state: "unknown", reason: "no answer within 0.1 seconds" });
    finish(alarmAnswer());
    await delay(50);
    await collector.current();
    expect(asked).toBeLessThanOrEqual(before + 1);
  });

  it("collects once for all who ask at the same time, and not again within two seconds", async () => {
    const database = await server.createDatabase();
    const sources = sourcesOf(database);
    const { primary } = sources.environment.ports;
    let connections = 0;
    const collector = statusCollector(
      {
        ...sources,
        environment: {
          ...sources.environment,
          ports: {
            ...sources.environment.ports,
            primary: {
              endpoint: { host: server.host, port: server.port },
              connect: (options) => {
                connections += 1;
                return (primary ?? expect.unreachable()).connect(options);
              },
            },
          },
        },
      },
      { signal: never },
    );
    const all = await Promise.all(Array.from({ length: 100 }, () => collector.current()));
    expect(new Set(all).size).toBe(1);
    // Health, drill, jobs, queries, sizes: a session each.
    expect(connections).toBe(5);
    expect(await collector.current()).toBe(all[0]);
    expect(connections).toBe(5);
  });

  it("ends with its signal, whatever hangs", async () => {
    const ending = new AbortController();
    const collector = statusCollector(
      sourcesOf(await server.createDatabase(), { sandbox: () => new Promise<Json>(() => {}) }),
      { signal: ending.signal },
    );
    const began = performance.now();
    const under = collector.current();
    await delay(100);
    ending.abort(new Error("stopped"));
    await under;
    expect(performance.now() - began).toBeLessThan(15_000);
    await expect(collector.current()).rejects.toThrow("stopped");
  });

  it("says that health could not be asked where nobody answers", async () => {
    const sources = sourcesOf("nowhere");
    const status = await collect(sources);
    expect(status).toMatchObject({
      level: "trouble",
      summary: expect.stringMatching(
        /^Health could not be asked\. Not known: the last drill, jobs, top queries, sizes\.$/,
      ),
    });
    expect(status.parts.health).toMatchObject({
      state: "unknown",
      reason: expect.stringContaining("nowhere"),
    });
  });

  it("reads the alarms of a sandbox, those that are on first, with what silences them", async () => {
    const sources = sourcesOf(await server.createDatabase(), { sandbox: async () => alarmAnswer() });
    const status = await collect(sources);
    const { alarms } = known(status.parts).alarms;
    expect(alarms.find(({ name }) => name === "replica-lag-replica-1")).toMatchObject({
      state: "ALARM",
      silenced: { by: "explained by another alarm", causes: ["database-down"] },
    });
    expect(status.level).toBe("trouble");
    expect(status.summary).toContain("2 alarms on, 1 of them silenced: database-down, replica-lag-replica-1");
    const strange = await collect(
      sourcesOf(await server.createDatabase(), { sandbox: async () => ({ alarms: [{ a: 1 }], faults: [] }) }),
    );
    expect(strange.parts.alarms).toMatchObject({
      state: "unknown",
      remedy: "use the pgkeep that started the sandbox",
    });
    expect(strange.parts.sandbox.state).toBe("known");
  });
});

type Known = { [Name in keyof Parts]: Extract<Parts[Name], { state: "known" }>["data"] };

function known(parts: Parts): Known {
  return Object.fromEntries(
    Object.entries(parts).flatMap(([name, part]) => (part.state === "known" ? [[name, part.data]] : [])),
  ) as unknown as Known;
}
