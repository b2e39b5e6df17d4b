import { describe, expect, it } from "vitest";
import { catalogue } from "../../../lib/alarms/catalogue.ts";
import type { Look, LookName } from "../../../lib/alarms/page/look.ts";
import { lookAt } from "../../../lib/checks/looks/look-at.ts";
import { maskLiterals } from "../../../lib/checks/mask-literals.ts";
import { collectHistory } from "../../../lib/history/collect.ts";
import type { Session } from "../../../lib/ports/databases.ts";
import { connect } from "../../../lib/postgres/connect.ts";
import { identifier } from "../../../lib/postgres/identifiers.ts";
import { allMajors, defaultMajor, useServer } from "../../helpers/postgres.ts";
import { type Installed, installed, password } from "../../install/installed.ts";
import { eventually } from "../helpers.ts";

const majors = allMajors.filter((major) => [14, defaultMajor, 18].includes(major));
const hostileTable = `o"r<!here>ders\n\u202e*x*`;
const hostileApplication = "<!channel> & `x` @here";

const lookOf = (name: string) => catalogue.find((entry) => entry.name === name)?.look ?? [];

describe.each(majors)("a look at the time of an alarm on PostgreSQL %i", (major) => {
  const server = useServer(major, {
    settings: { max_prepared_transactions: "5", wal_level: "logical", autovacuum: "off" },
  });
  let shared: Promise<Installed> | undefined;
  const shop = () => {
    shared ??= installed(server, {
      sections: {
        health: {
          idleInTransactionSeconds: 1,
          blockedSeconds: 1,
          longQueryWarnSeconds: 1,
          longQueryTicketSeconds: 2,
        },
      },
    });
    return shared;
  };

  /** As pgkeep_monitoring, as a function on AWS does it. */
  const look = async (look: readonly LookName[], milliseconds?: number): Promise<Look> => {
    const { config, names, as } = await shop();
    return as(names.monitoring, (session) =>
      lookAt(session, config, { entry: "test", look }, milliseconds === undefined ? {} : { milliseconds }),
    );
  };

  const asApplication = async (applicationName: string): Promise<Session> => {
    const { database, names } = await shop();
    const target = server.target(database, { user: names.app, password });
    return connect({ ...target, applicationName }, {
      role: "monitoring",
      lockTimeoutMilliseconds: 0,
    } as never);
  };

  const makeTable = async (name: string, rows = 2) => {
    const { asMaster, names } = await shop();
    await asMaster(async (session) => {
      await session.query(`drop table if exists public.${identifier(name)}`);
      await session.query(`create table public.${identifier(name)} (id int primary key, v text)`);
      await session.query(
        `insert into public.${identifier(name)} select g, repeat('v', 100) from generate_series(1, ${rows}) g`,
      );
      await session.query(`grant all on public.${identifier(name)} to ${identifier(names.app)}`);
    });
    return `public.${identifier(name)}`;
  };

  it("names the root of a pile-up, with user, age and its statement without data, whatever the names are", async () => {
    const table = await makeTable(hostileTable);
    const root = await asApplication(hostileApplication);
    const waiter = await asApplication("checkout");
    await root.query("begin");
    await root.query(`update ${table} set v = 'secret one' where id = 1`);
    const [{ pid } = { pid: 0 }] = await root.query<{ pid: number }>("select pg_backend_pid() as pid");
    await root.query(`update ${table} set v = 'secret 4242' where id = 2`);
    const waiting = waiter.query(`update ${table} set v = 'secret two' where id = 1`).catch(() => {});
    try {
      const seen = await eventually("somebody waits for a second", async () => {
        const now = await look(lookOf("blocked-sessions"));
        return now.findings.length > 0 ? now : undefined;
      });
      const { names } = await shop();
      expect(seen.findings[0]).toMatchObject({
        from: "blocked-sessions",
        text: expect.stringContaining(`pid ${pid}, idle in transaction) holds up 1 session`),
        hurts: `1 session of ${names.app}`,
        evidence: {
          rootPid: pid,
          user: names.app,
          application: hostileApplication,
          state: "idle in transaction",
          ageSeconds: expect.any(Number),
          sessionsHeldUp: 1,
          longestWaitSeconds: expect.any(Number),
          statement: expect.stringContaining("set v = ? where id = ?"),
          waitingStatement: expect.stringContaining("set v = ? where id = ?"),
        },
      });
      expect(JSON.stringify(seen)).not.toMatch(/secret|4242/);
      expect(seen.unseen).toEqual([]);
      // The same session, under its own alarm.
      const idle = await look(lookOf("idle-in-transaction"));
      expect(idle.findings[0]?.evidence).toMatchObject({
        pid,
        user: names.app,
        state: "idle in transaction",
      });
      const oldest = await look(["transactions"]);
      expect(oldest.findings[0]).toMatchObject({ from: "transactions", evidence: { pid, user: names.app } });
    } finally {
      await root.query("rollback");
      await waiting;
      await root.close();
      await waiter.close();
    }
  });

  it("names the slot that keeps most WAL first", async () => {
    const { as } = await shop();
    const asSuperuser = (...statements: string[]) =>
      as(undefined, async (session) => {
        for (const statement of statements) await session.query(statement);
      });
    await asSuperuser(
      "checkpoint",
      "select pg_create_physical_replication_slot('abandoned', true)",
      "create table public.filler as select g from generate_series(1, 1000) g",
      "checkpoint",
      "select pg_create_physical_replication_slot('aaa_younger', true)",
    );
    try {
      const { findings } = await look(lookOf("inactive-slots"));
      expect(findings.map(({ evidence }) => evidence.slot)).toEqual(["abandoned", "aaa_younger"]);
      expect(findings[0]).toMatchObject({
        text: expect.stringContaining('"abandoned"'),
        evidence: { active: false, retainedBytes: expect.any(Number), type: "physical" },
      });
    } finally {
      await asSuperuser(
        "select pg_drop_replication_slot('abandoned')",
        "select pg_drop_replication_slot('aaa_younger')",
        "drop table public.filler",
      );
    }
  });

  it("names the table that grew since history was collected, and passes over one that is locked", async () => {
    const { as, names, asMaster } = await shop();
    const growing = await makeTable(hostileTable, 10);
    await makeTable("large", 20_000);
    await as(undefined, (session) => session.query("vacuum analyze"));
    await as(names.monitoring, (session) =>
      collectHistory({
        session,
        keepDays: 400,
        keepStatementSnapshots: 1,
        statements: 10,
        mask: maskLiterals,
        dryRun: false,
      }),
    );
    await asMaster((session) =>
      session.query(`insert into ${growing} select g, repeat('x', 1000) from generate_series(100, 8000) g`),
    );
    const locker = await asApplication("migration");
    const { database, master } = await shop();
    const migration = await server.connect(database, master);
    await migration.query("begin");
    await migration.query("lock table public.large in access exclusive mode");
    try {
      const seen = await look(lookOf("free-storage"));
      const grown = seen.findings.find(({ evidence }) => "grownByBytes" in evidence);
      expect(grown).toMatchObject({
        from: "storage",
        evidence: { table: expect.stringContaining('o\\"r<!here>ders'), since: expect.any(String) },
      });
      expect(Number(grown?.evidence.grownByBytes)).toBeGreaterThan(7_000_000);
      expect(seen.unseen).toEqual([]);
    } finally {
      await migration.query("rollback");
      await migration.close();
      await locker.close();
    }
  });

  it("names who has temporary files now", async () => {
    const spiller = await asApplication("report");
    await spiller.query("set work_mem = '64kB'");
    await spiller.query("begin");
    await spiller.query(
      "declare c cursor for select g, md5(g::text) from generate_series(1, 50000) g order by md5(g::text)",
    );
    await spiller.query("fetch 1 from c");
    try {
      const { findings } = await look(["temporary-space"]);
      const { names } = await shop();
      expect(findings[0]).toMatchObject({
        evidence: { user: names.app, application: "report", temporaryBytes: expect.any(Number) },
      });
      expect(Number(findings[0]?.evidence.temporaryBytes)).toBeGreaterThan(500_000);
    } finally {
      await spiller.query("rollback");
      await spiller.close();
    }
  });

  it("names the statement that takes the time, the sessions at work, and the table that is changed", async () => {
    const table = await makeTable("busy", 50);
    const worker = await asApplication("worker");
    let busy = true;
    const work = (async () => {
      while (busy) await worker.query(`update ${table} set v = 'secret' || id where id < 40`);
    })();
    try {
      const { findings, unseen } = await look(["statements", "contention", "scans", "sessions"]);
      const { names } = await shop();
      expect(unseen).toEqual([]);
      expect(findings.find(({ from }) => from === "statements")).toMatchObject({
        text: expect.stringContaining("% of the time of all statements now"),
        evidence: { user: names.app, statement: expect.stringContaining('update public."busy" set v =') },
      });
      expect(findings.find(({ from }) => from === "contention")?.evidence.table).toBe("public.busy");
      expect(JSON.stringify(findings)).not.toContain("secret");
    } finally {
      busy = false;
      await work;
      await worker.close();
    }
  });

  it("tells a leak of connections before the number that are used", async () => {
    const { as, config, names } = await shop();
    const leaked = await Promise.all(Array.from({ length: 12 }, () => asApplication("leaky <!here>")));
    try {
      const impatient = {
        ...config,
        health: { ...config.health, connectionsPercent: 1 },
        pooling: { ...config.pooling, idleTimeoutSeconds: 0 },
      };
      const { findings } = await as(names.monitoring, (session) =>
        lookAt(session, impatient, { entry: "connections-used", look: ["connections"] }),
      );
      expect(findings[0]).toMatchObject({
        evidence: { user: names.app, application: "leaky <!here>", idleSessions: 12 },
      });
      expect(findings.slice(1).map(({ text }) => text)).toContainEqual(
        expect.stringMatching(
          /connections for ordinary roles are in use.*; most: "\w+_app" \("leaky <!here>"/,
        ),
      );
    } finally {
      await Promise.all(leaked.map((session) => session.close()));
    }
  });

  it("repeats what the job of the alarm said, and what is known as damaged, by name alone", async () => {
    const { as, config, names } = await shop();
    await as(undefined, async (session) => {
      await session.query(
        `insert into pgkeep.job_run (id, job, started_at, finished_at, outcome, reason) values
          ('a', 'back-up', now() - interval '26 hours', now() - interval '26 hours', 'succeeded', null),
          ('b', 'back-up', now() - interval '2 hours', now() - interval '2 hours', 'failed', 'the quota of snapshots is reached'),
          ('c', 'back-up', now() - interval '1 hour', now() - interval '1 hour', 'skipped', 'another run')`,
      );
      await session.query(
        `insert into pgkeep.integrity_look (item, object_name, attempted_at, checked_at, corrupt, problems)
         values ('t/1', 'shop.orders', now(), now(), true, '[{"evidence": {"messages": ["secret row"]}}]')`,
      );
    });
    const subject = { kind: "job", name: "back-up", periodSeconds: 86_400, recorded: true } as const;
    const { findings, unseen } = await as(names.monitoring, (session) =>
      lookAt(session, config, {
        entry: "backup-failed",
        subject,
        look: ["jobs", "damage", "archiving", "logins"],
      }),
    );
    expect(findings.map(({ text }) => text)).toEqual([
      expect.stringMatching(
        /^the run of back-up, which began 2 h 0 min ago, failed: the quota of snapshots is reached; last recorded success 26 h 0 min ago$/,
      ),
      expect.stringMatching(/^shop\.orders is damaged, seen .* ago \(1 object in all\)$/),
    ]);
    expect(JSON.stringify(findings)).not.toContain("secret");
    expect(unseen).toEqual([expect.stringContaining("server's log")]);
  });

  /** Gives vacuum these runs alone: identity, hours since it began, outcome and reason of each. */
  const runs = async (...rows: string[]) => {
    const { as } = await shop();
    await as(undefined, async (session) => {
      await session.query("delete from pgkeep.job_run where job = 'vacuum'");
      if (rows.length === 0) return;
      await session.query(
        `insert into pgkeep.job_run (id, job, started_at, finished_at, outcome, reason)
         select 'vacuum ' || id, 'vacuum', now() - hours * interval '1 hour', case when outcome <> 'running' then now() end, outcome, reason
           from (values ${rows.join(", ")}) as given (id, hours, outcome, reason)`,
      );
    });
  };
  const toldOf = async (entry: string, recorded = true): Promise<string[]> => {
    const { config, names, as } = await shop();
    const subject = { kind: "job", name: "vacuum", periodSeconds: 86_400, recorded } as const;
    const { findings } = await as(names.monitoring, (session) =>
      lookAt(session, config, { entry, subject, look: ["jobs"] }),
    );
    return findings.map(({ text }) => text);
  };

  it("tells of a run that does not end, and of a failure only while nothing has succeeded since", async () => {
    const told = async (entry: string) => (await toldOf(entry)).map((text) => text.replace(/; .*/, ""));
    const failed = "('a', 9, 'failed', 'no room')";
    const failure = "the run of vacuum, which began 9 h 0 min ago, failed: no room";
    const endless = "the last recorded run of vacuum, which began 2 h 0 min ago, has not ended";
    const done = "the last recorded run of vacuum, which began 5 h 0 min ago, succeeded";
    await runs(failed, "('b', 5, 'succeeded', null)");
    expect(await told("job-overdue")).toEqual([done]);
    expect(await told("job-failed")).toEqual([failure]);
    await runs(failed, "('b', 5, 'succeeded', null)", "('c', 2, 'running', null)");
    expect(await told("job-overdue")).toEqual([endless]);
    await runs(failed, "('c', 2, 'running', null)");
    expect(await told("job-overdue")).toEqual([endless, failure]);
    await runs(failed, "('c', 0, 'running', null)");
    expect((await told("job-overdue"))[0]).toBe(failure);
    // Killed, and nobody has noticed: a later one was done.
    await runs("('c', 8, 'running', null)", "('b', 5, 'succeeded', null)");
    expect(await told("job-overdue")).toEqual([done]);
    await runs("('c', 2, 'running', null)");
    expect(await told("job-overdue")).toEqual([endless]);
  });

  it("says of runs that left no record that it knows nothing of them, and who does", async () => {
    const silent = "nothing starts one, or it cannot reach the database, or not log in, to record itself";
    const see = "see the log group of its function (in a sandbox: what the sandbox printed)";
    const done = (hours: number) => `('a', ${hours}, 'succeeded', null)`;
    const last = (began: string) => `the last recorded run of vacuum, which began ${began} ago, succeeded`;
    await runs(done(5));
    expect(await toldOf("job-overdue")).toEqual([last("5 h 0 min")]);
    expect(await toldOf("job-failed")).toEqual([
      `${last("5 h 0 min")}; no failure of the last day is recorded: the run that failed could not reach the database, or not log in, to record itself: ${see}`,
    ]);
    const missing = (since: string) => `no run since ${since} ago has left a record: ${silent}: ${see}`;
    await runs(done(26));
    for (const entry of ["job-failed", "job-absent"]) {
      expect(await toldOf(entry)).toEqual([`${last("26 h 0 min")}; ${missing("26 h 0 min")}`]);
    }
    await runs("('a', 27, 'failed', 'no room')");
    expect(await toldOf("job-overdue")).toEqual([
      `the last recorded run of vacuum, which began 27 h 0 min ago, failed: no room; no success is recorded; ${missing("27 h 0 min")}`,
    ]);
    // What was due less than an hour ago may yet begin.
    await runs(done(24.9));
    expect(await toldOf("job-overdue")).toEqual([last("24 h 54 min")]);
    // A run that is under way has reached the database.
    await runs(done(26), "('b', 0.5, 'running', null)");
    expect(await toldOf("job-failed")).toEqual([
      expect.stringMatching(/^the last .* 30 min ago, has not ended; last recorded success \S+ s ago$/),
    ]);
    await runs();
    expect(await toldOf("job-absent")).toEqual([`no run of vacuum is recorded: ${silent}: ${see}`]);
    expect(await toldOf("job-absent", false)).toEqual([
      `no run of vacuum is recorded: on AWS it does not reach the database: ${see}`,
    ]);
  });

  it("says everything of every entry's look that it cannot see, and throws nothing", async () => {
    const all = [...new Set(catalogue.flatMap((entry) => entry.look))];
    const whole = await look(all, 30_000);
    // Where there is an obstacle it is one of a sample or of history, not an error of a query.
    expect(whole.unseen.filter((text) => /error|syntax|column|does not exist|failed/i.test(text))).toEqual(
      [],
    );
    const bare = await server.connect(await server.createDatabase());
    const { config } = await shop();
    const seen = await lookAt(bare, config, { entry: "test", look: all }, { milliseconds: 30_000 });
    await bare.close();
    expect(seen.unseen).toContainEqual(expect.stringMatching(/^jobs: /));
    expect(seen.unseen).toContainEqual(expect.stringMatching(/^damage: /));
  });
});

describe("the time of a look", () => {
  const endless: Session = {
    serverVersionNumber: 170_000,
    isStandby: false,
    isSuperuser: false,
    user: "pgkeep_monitoring",
    database: "shop",
    query: () => new Promise(() => {}),
  } as unknown as Session;

  it("ends although the server does not answer, and what was seen before stays", async () => {
    const { config } = { config: { health: {} } as never };
    const began = performance.now();
    const nothing = await lookAt(endless, config, { entry: "x", look: ["jobs"] }, { milliseconds: 100 });
    expect(performance.now() - began).toBeLessThan(15_000);
    expect(nothing).toMatchObject({ findings: [], unseen: ["the look took too long and was given up"] });
    const halting: Session = {
      ...endless,
      query: async (sql: string) => {
        if (sql.includes("pg_stat_archiver")) {
          return [{ mode: "on", failing: true, failed: 3, wal: "0001", seconds: 120 }];
        }
        return sql.includes("job = $1") ? new Promise(() => {}) : [];
      },
    } as unknown as Session;
    const some = await lookAt(
      halting,
      config,
      { entry: "x", look: ["archiving", "jobs"] },
      { milliseconds: 200 },
    );
    expect(some.findings[0]?.text).toBe("WAL is not archived: 0001 fails, the last success was 2 min ago");
    expect(some.unseen).toEqual(["the look took too long and was given up"]);
  });
});
