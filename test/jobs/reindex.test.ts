import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import type { JobResult } from "../../lib/jobs/job.ts";
import { reindex } from "../../lib/jobs/reindex.ts";
import { runJob } from "../../lib/jobs/runner.ts";
import type { Json } from "../../lib/json.ts";
import type { Session } from "../../lib/ports/databases.ts";
import { identifier, qualified } from "../../lib/postgres/identifiers.ts";
import type { ReindexReport } from "../../lib/reindex/report.ts";
import { configFor } from "../helpers/config.ts";
import { portsFor } from "../helpers/ports.ts";
import { allMajors, defaultMajor, type TestLogin, type TestServer, useServer } from "../helpers/postgres.ts";
import { installed, password } from "../install/installed.ts";

/** Nothing but the job itself may work on the tables here. */
const settings = { autovacuum: "off", max_prepared_transactions: "5" };

interface Options {
  arguments?: unknown;
  dryRun?: boolean;
  login?: TestLogin;
  maintenance?: Record<string, unknown>;
  sections?: Record<string, unknown>;
  signal?: AbortSignal;
  onProgress?: (message: string) => void;
}

async function run(server: TestServer, database: string, options: Options = {}) {
  const { login, maintenance, sections, ...rest } = options;
  const ports = portsFor(server.target(database, login));
  const config = configFor(database, {
    ...sections,
    maintenance: { reindex: { minimumSizeMegabytes: 0, oldTransactionSeconds: 2, ...maintenance } },
  });
  const result = await runJob(reindex, { ports, config, ...rest });
  return { result, report: result.report as unknown as ReindexReport, data: ports.data };
}

function succeeded<T extends { result: JobResult }>(ran: T): T {
  expect(ran.result.error).toBeUndefined();
  expect(ran.result.reason).toBeUndefined();
  expect(ran.result.outcome).toBe("succeeded");
  return ran;
}

const names = (list: { indexes: { schema: string; index: string }[] } | undefined) =>
  (list?.indexes ?? []).map((entry) => `${entry.schema}.${entry.index}`);

/** Indexes of which most entries are gone (`pkey`, `code`), and one that is full (`other`). */
async function bloatedTable(session: Session, name: string, rows = 20_000): Promise<void> {
  await session.query(`create table ${name} (id int primary key, code text, other int)`);
  await session.query(`insert into ${name} select i, md5(i::text), i from generate_series(1, ${rows}) i`);
  await session.query(`create index on ${name} (code)`);
  await session.query(`delete from ${name} where id % 10 <> 0`);
  await session.query(`vacuum (analyze) ${name}`);
  await session.query(`create index on ${name} (other)`);
}

async function indexNames(session: Session, schema = "public"): Promise<string[]> {
  const rows = await session.query<{ name: string }>(
    `select i.relname || case when x.indisvalid then '' else ' (invalid)' end as name
       from pg_index x join pg_class i on i.oid = x.indexrelid join pg_namespace n on n.oid = i.relnamespace
      where n.nspname = $1 order by i.relname collate "C"`,
    [schema],
  );
  return rows.map(({ name }) => name);
}

async function oidOf(session: Session, name: string): Promise<number> {
  const rows = await session.query<{ oid: number }>("select $1::regclass::oid::int8 as oid", [name]);
  return rows[0]?.oid as number;
}

/** Makes the server's REINDEX CONCURRENTLY fail half-way, as a time-out would: what it leaves is real. */
async function leaveHalfMade(
  server: TestServer,
  database: string,
  table: string,
  index: string,
  kind: "new" | "old",
) {
  const writer = await server.connect(database);
  const session = await server.connect(database);
  if (kind === "new") {
    await writer.query("begin");
    await writer.query(`insert into ${table} (id) values (-1)`);
    await session.query("set lock_timeout = '100ms'");
    await expect(session.query(`reindex index concurrently ${index}`)).rejects.toThrow("lock timeout");
  } else {
    const watcher = await server.connect(database);
    const pid = (await session.query<{ pid: number }>("select pg_backend_pid() as pid"))[0]?.pid;
    // A reader without a snapshot, whom only the last waits are for.
    await writer.query("begin");
    await writer.query(`lock table ${table} in access share mode`);
    const going = session.query(`reindex index concurrently ${index}`).catch(() => "cancelled");
    await expect
      .poll(
        () =>
          watcher.query(
            "select 1 from pg_stat_progress_create_index where pid = $1 and phase = 'waiting for readers before marking dead'",
            [pid],
          ),
        { timeout: 10_000, interval: 10 },
      )
      .toHaveLength(1);
    await watcher.query("select pg_cancel_backend($1)", [pid]);
    expect(await going).toBe("cancelled");
    await watcher.close();
  }
  await writer.query("rollback");
  await writer.close();
  await session.close();
}

/** Records a rebuild as pgkeep does before it starts one; the backend is one that has ended. */
async function record(session: Session, index: string): Promise<void> {
  await session.query(
    `insert into pgkeep.index_rebuild (index_oid, table_oid, schema_name, table_name, index_name, definition, indexes_before,
                                       backend_pid, backend_started_at)
     select i.oid, c.oid, n.nspname, c.relname, i.relname,
            concat_ws('|', i.relam, x.indisunique, x.indnkeyatts, x.indkey, x.indclass, x.indcollation, x.indoption,
                      pg_get_expr(x.indexprs, x.indrelid), 'where ' || pg_get_expr(x.indpred, x.indrelid)),
            array(select indexrelid from pg_index where indrelid = c.oid), 1, '2000-01-01'
       from pg_class i join pg_index x on x.indexrelid = i.oid join pg_class c on c.oid = x.indrelid
       join pg_namespace n on n.oid = i.relnamespace where i.oid = $1::regclass`,
    [index],
  );
}

describe.each(allMajors)("reindex on PostgreSQL %i", (major) => {
  const server = useServer(major, { settings });

  it("rebuilds the bloated indexes and no other, and says what that has freed", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await session.query("create extension pgstattuple");
    await bloatedTable(session, "public.orders");
    const before = await indexNames(session);
    const { report, data } = succeeded(await run(server, database));
    expect(names(report.rebuilt).sort()).toEqual(["public.orders_code_idx", "public.orders_pkey"]);
    for (const entry of report.rebuilt.indexes) {
      expect(entry.reason).toMatchObject({ kind: "bloat" });
      expect(entry.bytesAfter).toBeLessThan(entry.bytesBefore * 0.35);
    }
    expect(report.bytesFreed).toBeGreaterThan(500_000);
    expect(await indexNames(session)).toEqual(before);
    expect(data.find((datum) => datum.name === "IndexesRebuilt")?.value).toBe(2);
    const lines = reindex.describe?.(report as unknown as Json) ?? [];
    expect(lines.find((line) => line.includes("orders_code_idx"))).toMatch(
      /^ {2}public\.orders_code_idx: [\d.]+ (KiB|MiB) → [\d.]+ KiB in [\d.]+ s, for [\d.]+ % bloat \(.*, leaf pages [\d.]+ % full\)$/,
    );
    const again = succeeded(await run(server, database));
    expect(names(again.report.rebuilt)).toEqual([]);
    await session.close();
  });

  it("rebuilds every kind of index of a named table, and names the one that it cannot", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await session.query("create extension btree_gist");
    await session.query(`create table public.parts (id int, body text, during int4range, unique (id),
      exclude using gist (during with &&)) `);
    await session.query(
      "create index lower_body on public.parts (lower(body) text_pattern_ops desc) include (id) where id > 0",
    );
    await session.query("create index words on public.parts using gin (to_tsvector('simple', body))");
    await session.query(
      "create table public.p (id int, at int, primary key (id, at)) partition by range (at)",
    );
    await session.query("create table public.p1 partition of public.p for values from (0) to (10)");
    await session.query(
      "create table public.p2 partition of public.p for values from (10) to (20) partition by range (at)",
    );
    await session.query("create table public.p21 partition of public.p2 for values from (10) to (20)");
    await session.query("alter table public.parts replica identity using index parts_id_key").catch(() => {});
    const before = await session.query(
      `select indexrelid::regclass::text as index, pg_get_indexdef(indexrelid) as definition, indisprimary, indisunique, indisreplident,
              (select conname from pg_constraint where conindid = indexrelid and conparentid = 0) as constraint,
              (select inhparent::regclass::text from pg_inherits where inhrelid = indexrelid) as parent
         from pg_index join pg_class on pg_class.oid = indexrelid where relnamespace = 'public'::regnamespace order by 1`,
    );
    const oids = await session.query<{ name: string; oid: number }>(
      "select oid::regclass::text as name, oid::int8 as oid from pg_class where relkind = 'i' and relnamespace = 'public'::regnamespace",
    );
    const { report } = succeeded(
      await run(server, database, { arguments: { tables: ["public.parts", "public.p"] } }),
    );
    const rebuilt = names(report.rebuilt);
    expect(rebuilt).toContainEqual(expect.stringMatching(/^pg_toast\.pg_toast_\d+_index$/));
    expect(rebuilt.filter((name) => name.startsWith("public.")).sort()).toEqual([
      "public.lower_body",
      "public.p1_pkey",
      "public.p21_pkey",
      "public.parts_id_key",
      "public.words",
    ]);
    expect(names(report.notConcurrently)).toEqual(["public.parts_during_excl"]);
    const after = await session.query(
      `select indexrelid::regclass::text as index, pg_get_indexdef(indexrelid) as definition, indisprimary, indisunique, indisreplident,
              (select conname from pg_constraint where conindid = indexrelid and conparentid = 0) as constraint,
              (select inhparent::regclass::text from pg_inherits where inhrelid = indexrelid) as parent
         from pg_index join pg_class on pg_class.oid = indexrelid where relnamespace = 'public'::regnamespace order by 1`,
    );
    expect(after).toEqual(before);
    for (const { name, oid } of oids) {
      const isNew = (await oidOf(session, name)) !== oid;
      expect([name, isNew]).toEqual([name, name !== "public.parts_during_excl"]);
    }
    await session.close();
  });

  it("removes what a killed rebuild has left, by its record, and completes the rebuild", async () => {
    const { database, as } = await installed(server);
    await as(undefined, async (session) => {
      await bloatedTable(session, "public.one", 2000);
      await bloatedTable(session, "public.two", 2000);
      await record(session, "public.one_code_idx");
      await record(session, "public.two_code_idx");
      await leaveHalfMade(server, database, "public.one", "public.one_code_idx", "new");
      await leaveHalfMade(server, database, "public.two", "public.two_code_idx", "old");
      expect((await indexNames(session)).filter((name) => name.includes("(invalid)"))).toEqual([
        "one_code_idx_ccnew (invalid)",
        "two_code_idx_ccold (invalid)",
      ]);
      const dry = succeeded(
        await run(server, database, { dryRun: true, maintenance: { minimumSizeMegabytes: 10 } }),
      );
      expect(names(dry.report.leftoversDropped).sort()).toEqual([
        "public.one_code_idx_ccnew",
        "public.two_code_idx_ccold",
      ]);
      expect((await indexNames(session)).filter((name) => name.includes("(invalid)"))).toHaveLength(2);
      const { report } = succeeded(
        await run(server, database, { maintenance: { minimumSizeMegabytes: 10 } }),
      );
      expect(names(report.leftoversDropped).sort()).toEqual([
        "public.one_code_idx_ccnew",
        "public.two_code_idx_ccold",
      ]);
      // The second was in place already: only what it had left was missing.
      expect(report.rebuilt.indexes.map(({ index, reason }) => [index, reason.kind])).toEqual([
        ["one_code_idx", "interrupted"],
      ]);
      expect(await indexNames(session)).toEqual([
        "one_code_idx",
        "one_other_idx",
        "one_pkey",
        "two_code_idx",
        "two_other_idx",
        "two_pkey",
      ]);
      expect(await session.query("select 1 from pgkeep.index_rebuild")).toEqual([]);
    });
  });

  it("leaves indexes of others alone, whatever they are called", async () => {
    const { database, as } = await installed(server);
    await as(undefined, async (session) => {
      await bloatedTable(session, "public.t", 2000);
      // Somebody else's failed REINDEX, a valid index that looks like a leftover, and an invalid one that is none.
      await leaveHalfMade(server, database, "public.t", "public.t_code_idx", "new");
      await session.query("create index t_other_idx_ccnew on public.t (other, id)");
      await session.query("create index t_code_idx_ccold on public.t (code desc)");
      await session.query(
        "update pg_index set indisvalid = false where indexrelid = 'public.t_code_idx_ccold'::regclass",
      );
      await record(session, "public.t_code_idx");
      const { report } = succeeded(
        await run(server, database, { maintenance: { minimumSizeMegabytes: 10 } }),
      );
      expect(names(report.leftoversDropped)).toEqual([]);
      expect(names(report.invalid)).toEqual(["public.t_code_idx_ccnew"]);
      expect(report.invalid.indexes[0]?.sql).toBe('DROP INDEX CONCURRENTLY "public"."t_code_idx_ccnew"');
      expect(names(report.rebuilt)).toEqual(["public.t_code_idx", "public.t_code_idx_ccold"]);
      expect(await indexNames(session)).toEqual([
        "t_code_idx",
        "t_code_idx_ccnew (invalid)",
        "t_code_idx_ccold",
        "t_other_idx",
        "t_other_idx_ccnew",
        "t_pkey",
      ]);
    });
  });

  it("makes an index valid whose build has failed, and says why when it cannot", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await session.query("create table public.t (id int, code int)");
    await session.query("insert into public.t values (1, 1), (2, 1)");
    await expect(session.query("create unique index concurrently u on public.t (code)")).rejects.toThrow(
      "could not create",
    );
    const first = await run(server, database);
    expect(first.result.outcome).toBe("failed");
    expect(first.result.reason).toContain("public.u");
    expect(first.report.failed.indexes[0]?.error).toContain("could not create unique index");
    // Its own attempt has left nothing.
    expect(await indexNames(session)).toEqual(["u (invalid)"]);
    await session.query("delete from public.t where id = 2");
    const { report } = succeeded(await run(server, database));
    expect(report.rebuilt.indexes.map(({ index, reason }) => [index, reason.kind])).toEqual([
      ["u", "invalid"],
    ]);
    expect(await indexNames(session)).toEqual(["u"]);
    await session.close();
  });

  it("does not start while an old transaction would have to be waited for, and names it", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await bloatedTable(session, "public.t", 2000);
    const holder = await server.connect(database);
    await holder.query("begin isolation level repeatable read");
    await holder.query("select 1");
    const pid = (await holder.query<{ pid: number }>("select pg_backend_pid() as pid"))[0]?.pid;
    const prepared = await server.connect(database);
    await session.query("create table public.other (id int primary key)");
    await prepared.query("begin");
    await prepared.query("insert into public.other values (1)");
    await prepared.query("prepare transaction 'it''s open'");
    await delay(1_100);
    const { report } = succeeded(
      await run(server, database, {
        arguments: { indexes: ["public.t_code_idx", "public.other_pkey"] },
        maintenance: { oldTransactionSeconds: 1 },
      }),
    );
    expect(names(report.rebuilt)).toEqual([]);
    const obstacles = Object.fromEntries(
      report.blocked.indexes.map((entry) => [entry.index, entry.obstacles]),
    );
    expect(obstacles.t_code_idx).toEqual([
      {
        kind: "old transaction",
        text: expect.stringMatching(
          new RegExp(
            `^process ${pid} of postgres \\(pgkeep\\) has a snapshot, idle in transaction, transaction of [\\d.]+ s$`,
          ),
        ),
        remedy: `let it end its transaction, or end it: SELECT pg_terminate_backend(${pid})`,
      },
    ]);
    expect(obstacles.other_pkey).toContainEqual({
      kind: "prepared transaction",
      text: "prepared transaction 'it''s open' of postgres has the table locked",
      remedy: "finish it: COMMIT PREPARED 'it''s open' or ROLLBACK PREPARED 'it''s open'",
    });
    await session.query("rollback prepared 'it''s open'");
    await holder.query("rollback");
    expect((await indexNames(session)).filter((name) => name.includes("cc"))).toEqual([]);
    await Promise.all([holder.close(), prepared.close(), session.close()]);
  });

  it("cleans up when a transaction that began during the rebuild does not end in time", async () => {
    const { database, as } = await installed(server);
    await as(undefined, async (session) => {
      await bloatedTable(session, "public.t", 2000);
      const writer = await server.connect(database);
      let written: Promise<unknown> | undefined;
      const { report } = succeeded(
        await run(server, database, {
          arguments: { indexes: ["public.t_code_idx"] },
          maintenance: { oldTransactionSeconds: 1 },
          onProgress: (message) => {
            if (!message.startsWith("reindexing") || written !== undefined) return;
            // Ends after the rebuild was given up, and before the end of the run.
            written = writer
              .query("begin; insert into public.t values (-1, 'x', 1)")
              .then(() => delay(2_500))
              .then(() => writer.query("rollback"));
          },
        }),
      );
      await written;
      await writer.close();
      // Whichever came first: rebuilt, or given up; but nothing is left.
      expect(report.rebuilt.total + report.blocked.total).toBe(1);
      expect(report.leftoversRemaining.total).toBe(0);
      expect(await indexNames(session)).toEqual(["t_code_idx", "t_other_idx", "t_pkey"]);
      expect(await session.query("select 1 from pgkeep.index_rebuild")).toEqual([]);
    });
  });

  it("works as the maintenance role, and says by name what that may not do", async () => {
    const { database, as, names: roles, master } = await installed(server);
    await as(undefined, async (session) => {
      await session.query(`set role ${identifier(roles.owner)}`);
      await bloatedTable(session, "public.ours", 20_000);
      await session.query("reset role");
      await session.query("create role stranger");
      await session.query(`create schema closed authorization stranger`);
      await session.query("create table closed.theirs (id int primary key, body text)");
      await session.query("alter table closed.theirs owner to stranger");
      const login = { user: roles.maintenance, password };
      const { report } = succeeded(await run(server, database, { login }));
      expect(names(report.rebuilt).sort()).toEqual(["public.ours_code_idx", "public.ours_pkey"]);
      expect(report.notes).toEqual([]);
      const asked = succeeded(
        await run(server, database, { login, arguments: { tables: ["closed.theirs", "public.ours"] } }),
      );
      const remedies = Object.fromEntries(
        asked.report.notPermitted.indexes.map((entry) => [`${entry.schema}.${entry.index}`, entry.remedy]),
      );
      expect(remedies["closed.theirs_pkey"]).toContain(
        major >= 17
          ? 'GRANT USAGE ON SCHEMA "closed"'
          : `GRANT "stranger" TO "${roles.maintenance}": before PostgreSQL 17 only the owner may reindex it`,
      );
      const toast = Object.entries(remedies).find(([name]) => name.startsWith("pg_toast."));
      expect(toast?.[1]).toMatch(/REINDEX TABLE CONCURRENTLY public\.ours|GRANT "stranger"|GRANT MAINTAIN/);
      await session.query(`grant usage on schema closed to ${identifier(roles.maintenance)}`);
      const usable = await run(server, database, { login, arguments: { indexes: ["closed.theirs_pkey"] } });
      expect(usable.report.notPermitted.indexes[0]?.remedy).toContain(
        `GRANT "stranger" TO "${roles.maintenance}"`,
      );

      // What is left of a killed run goes too.
      await record(session, "public.ours_other_idx");
      await session.query(`set role ${identifier(roles.owner)}`);
      await leaveHalfMade(server, database, "public.ours", "public.ours_other_idx", "new");
      await session.query("reset role");
      const cleaned = succeeded(await run(server, database, { login }));
      expect(names(cleaned.report.leftoversDropped)).toEqual(["public.ours_other_idx_ccnew"]);
      expect(await indexNames(session)).toEqual(["ours_code_idx", "ours_other_idx", "ours_pkey"]);
      // As the master user of RDS, the owner.
      const asMaster = succeeded(
        await run(server, database, { login: master, arguments: { indexes: ["public.ours_pkey"] } }),
      );
      expect(names(asMaster.report.rebuilt)).toEqual(["public.ours_pkey"]);
    });
  });
});

describe("reindex, on any version", () => {
  const server = useServer(defaultMajor, { settings });

  it("changes nothing in a dry run, and says what would be done, with what is in its way", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await session.query("create extension pgstattuple");
    await bloatedTable(session, "public.orders");
    const before = await oidOf(session, "public.orders_code_idx");
    const locker = await server.connect(database);
    await locker.query("begin");
    await locker.query("lock table public.orders in share update exclusive mode");
    const { report, data } = succeeded(await run(server, database, { dryRun: true }));
    expect(names(report.planned)).toEqual(["public.orders_code_idx", "public.orders_pkey"]);
    expect(report.planned?.indexes[0]).toMatchObject({
      reason: { kind: "bloat" },
      sql: 'REINDEX INDEX CONCURRENTLY "public"."orders_code_idx"',
      lock: "SHARE UPDATE EXCLUSIVE: reads and writes go on",
      obstacles: [
        { kind: "lock", text: expect.stringContaining("holds ShareUpdateExclusiveLock on the table") },
      ],
    });
    expect(await oidOf(session, "public.orders_code_idx")).toBe(before);
    expect(data).toEqual([]);
    await locker.query("rollback");
    await Promise.all([locker.close(), session.close()]);
  });

  it("does not act on an estimate that could not be confirmed, unless it is certain and asked for", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await bloatedTable(session, "public.orders");
    const { report } = succeeded(await run(server, database));
    expect(report.rebuilt.total).toBe(0);
    expect(names(report.unconfirmed)).toEqual(["public.orders_code_idx", "public.orders_pkey"]);
    expect(report.unconfirmed.indexes[0]).toMatchObject({
      why: "the extension pgstattuple is not installed: CREATE EXTENSION pgstattuple",
    });
    expect(report.unconfirmed.indexes[0]?.leastPercent).toBeGreaterThan(80);
    const asked = succeeded(await run(server, database, { arguments: { unconfirmed: true } }));
    expect(names(asked.report.rebuilt)).toEqual(["public.orders_code_idx", "public.orders_pkey"]);
    await session.close();
  });

  it("takes names that are hostile", async () => {
    const schema = 'sch"; drop table x; --';
    const table = "täble\n' $$";
    // Cut in the middle of a character when the server adds to it.
    const index = `i"${"ü".repeat(30)}`;
    const { database, as } = await installed(server, { database: `db " '; --` });
    await as(undefined, async (session) => {
      await session.query(`create schema ${identifier(schema)}`);
      await session.query(`create table ${qualified(schema, table)} (id int, code text)`);
      await session.query(`create index ${identifier(index)} on ${qualified(schema, table)} (id)`);
      await session.query(
        `insert into ${qualified(schema, table)} select i, 'x' from generate_series(1, 100) i`,
      );
      await record(session, qualified(schema, index));
      await leaveHalfMade(server, database, qualified(schema, table), qualified(schema, index), "new");
      expect((await indexNames(session, schema)).length).toBe(2);
      const { report } = succeeded(
        await run(server, database, { arguments: { tables: [{ schema, table }] } }),
      );
      expect(report.leftoversDropped.total).toBe(1);
      expect(report.rebuilt.indexes.map((entry) => entry.index)).toEqual(expect.arrayContaining([index]));
      expect(await indexNames(session, schema)).toEqual([index]);
      const lines = reindex.describe?.(report as unknown as Json) ?? [];
      expect(lines.every((line) => !line.includes("\n"))).toBe(true);
    });
  });

  it("looks at ten thousand indexes in little time", { timeout: 120_000 }, async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await session.query("create extension pgstattuple");
    for (let first = 0; first < 5000; first += 250) {
      await session.query(`do $$ begin for i in ${first}..${first + 249} loop
        execute format('create table public.t%s (id int primary key, code text, n int)', i);
        execute format('create index on public.t%s (lower(code), n) where n > 0', i);
        execute format('insert into public.t%s values (1, ''x'', 1)', i);
      end loop; end $$`);
    }
    await session.query("analyze");
    const begin = performance.now();
    const { report } = succeeded(
      await run(server, database, { dryRun: true, maintenance: { minimumSizeMegabytes: 10 } }),
    );
    const seconds = (performance.now() - begin) / 1000;
    expect(report.considered).toBe(0);
    // About one, alone on two cores.
    expect(seconds).toBeLessThan(10);
    // With estimates of all.
    const all = succeeded(await run(server, database, { dryRun: true }));
    expect(all.report.considered).toBeGreaterThanOrEqual(10_000);
    expect(all.report.due).toBe(0);
    expect(all.report.secondsUsed).toBeLessThan(15);
    await session.close();
  });

  it("goes on when a table is dropped during the run", async () => {
    const { database, as } = await installed(server);
    await as(undefined, async (session) => {
      for (const name of ["a", "b", "c"]) await bloatedTable(session, `public.${name}`, 2000);
      let dropped: Promise<unknown> = Promise.resolve();
      const { report } = succeeded(
        await run(server, database, {
          arguments: { indexes: ["public.a_pkey", "public.b_pkey", "public.c_pkey"] },
          onProgress: (message) => {
            if (message.includes("(1 of 3)")) dropped = session.query("drop table public.b");
          },
        }),
      );
      await dropped;
      expect(names(report.rebuilt)).toEqual(expect.arrayContaining(["public.a_pkey", "public.c_pkey"]));
      expect(report.failed.total).toBe(0);
      expect(await indexNames(session)).toEqual([
        "a_code_idx",
        "a_other_idx",
        "a_pkey",
        "c_code_idx",
        "c_other_idx",
        "c_pkey",
      ]);
    });
  });

  it("gives way to a schema change, so that a workload never waits longer than the lock timeout", {
    timeout: 120_000,
  }, async () => {
    const { database, as } = await installed(server);
    await as(undefined, async (session) => {
      await session.query("create table public.busy (id int primary key, code text)");
      await session.query("insert into public.busy select i, md5(i::text) from generate_series(1, 30000) i");
      // Slow to build, so that the schema change meets it.
      await session.query(
        `create function public.slow(t text) returns text language plpgsql immutable as $$ begin return t; end $$`,
      );
      await session.query("create index slow_idx on public.busy (public.slow(code))");
      await session.query(`create or replace function public.slow(t text) returns text language plpgsql immutable
        as $$ begin if random() < 0.02 then perform pg_sleep(0.01); end if; return t; end $$`);
      let over = false;
      const waits: number[] = [];
      const errors: unknown[] = [];
      const client = async (n: number) => {
        const worker = await server.connect(database);
        while (!over) {
          const begin = performance.now();
          await worker
            .query(`update public.busy set id = id where id = ${n * 100 + Math.floor(Math.random() * 50)}`)
            .catch((error) => errors.push(error));
          waits.push(performance.now() - begin);
          await delay(5);
        }
        await worker.close();
      };
      const workload = Promise.all([client(1), client(2), client(3)]);
      const changer = await server.connect(database);
      let changed: Promise<number> | undefined;
      const { report } = succeeded(
        await run(server, database, {
          arguments: { indexes: ["public.slow_idx", "public.busy_pkey"] },
          maintenance: { lockTimeoutSeconds: 1, oldTransactionSeconds: 5 },
          onProgress: (message) => {
            if (!message.includes("slow_idx") || changed !== undefined) return;
            const begin = performance.now();
            changed = delay(500)
              .then(() => changer.query("set lock_timeout = '10s'"))
              .then(() => changer.query("alter table public.busy add column extra int"))
              .then(() => performance.now() - begin - 500);
          },
        }),
      );
      over = true;
      await workload;
      expect(errors).toEqual([]);
      expect(await changed).toBeLessThan(1_000);
      expect(Math.max(...waits)).toBeLessThan(1_000);
      expect(waits.length).toBeGreaterThan(100);
      // It gave way the first time, and was done at the end of the run.
      expect(names(report.leftoversDropped)).toEqual(["public.slow_idx_ccnew"]);
      expect(names(report.rebuilt)).toEqual(["public.busy_pkey", "public.slow_idx"]);
      expect(await indexNames(session)).toEqual(["busy_pkey", "slow_idx"]);
      await changer.close();
    });
  });

  it("stops at the deadline, leaves nothing behind and accounts for every index", async () => {
    const { database, as } = await installed(server);
    await as(undefined, async (session) => {
      for (const name of ["a", "b", "c"]) await bloatedTable(session, `public.${name}`, 5000);
      const stop = new AbortController();
      const { result, report } = await run(server, database, {
        arguments: { indexes: ["public.a_pkey", "public.b_pkey", "public.c_pkey"] },
        signal: stop.signal,
        onProgress: (message) => {
          if (message.includes("(2 of 3)")) setTimeout(() => stop.abort(new Error("enough")), 5);
        },
      });
      expect(result.reason).toBeUndefined();
      expect(report.interrupted).toBe(true);
      expect(report.rebuilt.total).toBeGreaterThanOrEqual(1);
      expect(report.rebuilt.total + report.left.total).toBe(3);
      expect((await indexNames(session)).filter((name) => name.includes("cc"))).toEqual([]);
      expect(await session.query("select 1 from pgkeep.index_rebuild")).toEqual([]);
    });
  });

  it("gives up a rebuild that overruns the budget, and one that would", async () => {
    const { database, as } = await installed(server);
    await as(undefined, async (session) => {
      await bloatedTable(session, "public.t", 5000);
      await session.query(
        `create function public.slow(t text) returns text language plpgsql immutable as $$ begin return t; end $$`,
      );
      await session.query("create index slow_idx on public.t (public.slow(code))");
      await session.query(`create or replace function public.slow(t text) returns text language plpgsql immutable
        as $$ begin perform pg_sleep(0.01); return t; end $$`);
      await session.query("update pg_class set relpages = 10000000 where oid = 'public.t'::regclass");
      const large = await run(server, database, {
        arguments: { indexes: ["public.t_pkey"], budgetSeconds: 20 },
      });
      expect(large.report.left.indexes[0]?.why).toContain("more than a whole run has");
      await session.query("update pg_class set relpages = 10 where oid = 'public.t'::regclass");
      const { report } = succeeded(
        await run(server, database, { arguments: { indexes: ["public.slow_idx"], budgetSeconds: 1 } }),
      );
      expect(report.left.indexes[0]?.why).toBe("was stopped when the budget ended; nothing has changed");
      expect(names(report.leftoversDropped)).toEqual(["public.slow_idx_ccnew"]);
      expect((await indexNames(session)).filter((name) => name.includes("cc"))).toEqual([]);
    });
  });

  it("survives the loss of its connection", async () => {
    const { database, as } = await installed(server);
    await as(undefined, async (session) => {
      await bloatedTable(session, "public.t", 20_000);
      await session.query(
        `create function public.slow(t text) returns text language plpgsql immutable as $$ begin return t; end $$`,
      );
      await session.query("create index slow_idx on public.t (public.slow(code))");
      await session.query(`create or replace function public.slow(t text) returns text language plpgsql immutable
        as $$ begin perform pg_sleep(0.01); return t; end $$`);
      const running = run(server, database, { arguments: { indexes: ["public.slow_idx", "public.t_pkey"] } });
      await expect
        .poll(
          () =>
            session.query(
              `select pg_terminate_backend(pid) from pg_stat_progress_create_index
                where phase like 'building index%' and index_relid = to_regclass('public.slow_idx_ccnew')`,
            ),
          { timeout: 20_000, interval: 20 },
        )
        .toHaveLength(1);
      const { result, report } = await running;
      expect(result.outcome).toBe("failed");
      expect(names(report.leftoversDropped)).toEqual(["public.slow_idx_ccnew"]);
      expect(report.rebuilt.total + report.left.total).toBe(2);
      expect((await indexNames(session)).filter((name) => name.includes("cc"))).toEqual([]);
    });
  });

  it("refuses what is not there, and says what system catalogs need", async () => {
    const database = await server.createDatabase();
    const { result } = await run(server, database, { arguments: { indexes: ["public.nothing"] } });
    expect(result.error).toMatchObject({
      code: "not-found",
      message: expect.stringContaining('"public"."nothing" is not an index'),
    });
    const { report } = await run(server, database, {
      arguments: { indexes: ["pg_catalog.pg_class_oid_index"] },
    });
    expect(report.notPermitted.indexes[0]?.remedy).toContain("system catalog");
    await expect(run(server, database, { arguments: { index: "x" } })).rejects.toThrow(
      "the arguments of reindex are wrong",
    );
  });
});

describe("reindex on RDS", () => {
  const server = useServer(defaultMajor, { settings: { ...settings, "rds.extensions": "pgstattuple" } });

  it("does not start what the configured storage has no room for, with the numbers", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await bloatedTable(session, "public.t", 2000);
    const arguments_ = { indexes: ["public.t_pkey"] };
    const roomy = succeeded(await run(server, database, { arguments: arguments_ }));
    expect(roomy.report.freeDiskBytes).toBeGreaterThan(2 ** 30);
    expect(names(roomy.report.rebuilt)).toEqual(["public.t_pkey"]);
    const { report } = succeeded(
      await run(server, database, {
        arguments: arguments_,
        sections: {
          database: { storageGigabytes: 20, maxStorageGigabytes: 20 },
          health: { freeStoragePercent: 99.9 },
        },
      }),
    );
    expect(report.freeDiskBytes).toBe(0);
    expect(report.blocked.indexes[0]?.obstacles[0]?.text).toMatch(
      /^needs [\d.]+ KiB of disk, and 0 bytes are free/,
    );
    await session.close();
  });
});
