import { beforeAll, describe, expect, it } from "vitest";
import { planInstall } from "../../lib/install/plan.ts";
import type { Notice } from "../../lib/ports/databases.ts";
import { allMajors, type TestServer, useServer } from "../helpers/postgres.ts";
import { type Installed, installed, password } from "./installed.ts";

describe.each(allMajors)("an installation by a master without superuser on PostgreSQL %i", (major) => {
  const server: TestServer = useServer(major);
  let shop: Installed;

  beforeAll(async () => {
    shop = await installed(server, { database: "shop" });
    await shop.as(shop.names.migrations, async (session) => {
      await session.query("create schema store");
      await session.query(
        "create table store.orders (id bigint generated always as identity primary key, note text)",
      );
      await session.query("create table store.items (id serial primary key, amount int)");
      await session.query("create view store.notes as select note from store.orders");
      await session.query("insert into store.orders (note) values ('first')");
    });
  });

  it("says what it created, and leaves a database alone that is right already", async () => {
    expect(shop.report).toMatchObject({ outcome: "installed", repaired: [], unresolved: [] });
    expect(shop.report.created).toContain("role shop_reader: created");
    expect(shop.report.created).toContain("schema pgkeep: created");

    const again = await shop.apply();
    expect(again).toMatchObject({ outcome: "unchanged", created: [], repaired: [], unresolved: [] });
    const plan = await shop.asMaster((session) => planInstall(session, shop.config));
    expect(plan.changes).toEqual([]);
  });

  it("leaves to somebody else only what the master may not do", () => {
    // Until 14 schema public belongs to the bootstrap superuser.
    expect(shop.report.blocked.map(({ sql }) => sql)).toEqual(
      major === 14 ? ["ALTER SCHEMA public OWNER TO pg_database_owner"] : [],
    );
  });

  it("gives no role of its own more than a login", async () => {
    const roles = await shop.as(undefined, (session) =>
      session.query(
        `select rolname, rolcanlogin as login,
                rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls as powerful
         from pg_roles where rolname ~ '^(shop|pgkeep)' order by 1`,
      ),
    );
    const role = (rolname: string, login: boolean) => ({ rolname, login, powerful: false });
    expect(roles).toEqual([
      role("pgkeep", false),
      role("pgkeep_drill", true),
      role("pgkeep_maintenance", true),
      role("pgkeep_monitoring", true),
      role("shop_app", true),
      role("shop_migrations", true),
      role("shop_owner", false),
      role("shop_reader", false),
      role("shop_reporting", true),
      role("shop_writer", false),
    ]);
  });

  it("lets the owner group own what the migrations role creates", async () => {
    const owners = await shop.as(undefined, (session) =>
      session.query(
        `select distinct pg_get_userbyid(relowner) as owner from pg_class c
         join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'store'`,
      ),
    );
    expect(owners).toEqual([{ owner: "shop_owner" }]);
  });

  it("lets the application read and write objects that were created later, and change no definition", async () => {
    await shop.as(shop.names.app, async (session) => {
      await session.query("insert into store.orders (note) values ('by app')");
      await session.query("insert into store.items (amount) values (1)");
      await session.query("update store.items set amount = 2");
      await session.query("delete from store.items");
      expect(await session.query("select count(*) as n from store.notes")).toEqual([{ n: 2 }]);
      const denied = { code: "insufficient-privilege" };
      await expect(session.query("create table store.mine (a int)")).rejects.toMatchObject(denied);
      await expect(session.query("alter table store.orders add column a int")).rejects.toMatchObject(denied);
      await expect(session.query("drop table store.orders")).rejects.toMatchObject(denied);
      await expect(session.query("truncate store.orders")).rejects.toMatchObject(denied);
      await expect(session.query("create schema mine")).rejects.toMatchObject(denied);
      await expect(session.query("select * from pgkeep.job_run")).rejects.toMatchObject(denied);
      if (major > 14)
        await expect(session.query("create table public.mine (a int)")).rejects.toMatchObject(denied);
    });
  });

  it("lets reports read, and nothing else even when they ask for it", async () => {
    await shop.as(shop.names.reporting, async (session) => {
      await session.query("select * from store.orders");
      await session.query("select * from store.notes");
      await session.query("select last_value from store.items_id_seq");
      await expect(session.query("insert into store.items (amount) values (1)")).rejects.toMatchObject({
        code: "read-only",
      });
      await session.query("set default_transaction_read_only = off");
      await expect(session.query("insert into store.items (amount) values (1)")).rejects.toMatchObject({
        code: "insufficient-privilege",
      });
      await expect(session.query("select nextval('store.items_id_seq')")).rejects.toMatchObject({
        code: "insufficient-privilege",
      });
    });
  });

  it("sets each role's timeouts where it logs in", async () => {
    const settings = async (role: string) => {
      const session = await server.connect("shop", { user: role, password }, { pooled: true });
      try {
        const rows = await session.query(
          `select current_setting('statement_timeout') as statement, current_setting('lock_timeout') as lock,
                  current_setting('idle_in_transaction_session_timeout') as idle,
                  current_setting('default_transaction_read_only') as readonly, current_user::text as acts`,
        );
        return Object.values(rows[0] as object);
      } finally {
        await session.close();
      }
    };
    expect(await settings("shop_app")).toEqual(["30s", "5s", "1min", "off", "shop_app"]);
    expect(await settings("shop_reporting")).toEqual(["5min", "5s", "5min", "on", "shop_reporting"]);
    expect(await settings("shop_migrations")).toEqual(["0", "5s", "5min", "off", "shop_owner"]);
    expect(await settings("pgkeep_drill")).toEqual(["0", "5s", "1min", "on", "pgkeep_drill"]);
  });

  it("keeps everybody else out", async () => {
    await shop.as(undefined, (session) =>
      session.query(`create role stranger_${major} login password '${password}'`),
    );
    await expect(server.connect("shop", { user: `stranger_${major}`, password })).rejects.toThrow(
      /permission denied for database "shop"/,
    );
  });

  it("lets monitoring record what jobs did and see every session's statement", async () => {
    await shop.as(shop.names.monitoring, async (session) => {
      await session.query("update pgkeep.heartbeat set at = now(), written_by = 'test'");
      await session.query("insert into pgkeep.job_run (id, job) values ('r1', 'check-health')");
      await session.query(
        "update pgkeep.job_run set outcome = 'succeeded', finished_at = now() where id = 'r1'",
      );
      await session.query("insert into pgkeep.backup_manifest values ('b1', now(), '{}')");
      await session.query("delete from pgkeep.backup_manifest");
      await session.query("select count(*) from public.pg_stat_statements");
      const hidden = await session.query(
        "select 1 from pg_stat_activity where query = '<insufficient privilege>'",
      );
      expect(hidden).toEqual([]);
      await expect(session.query("select * from store.orders")).rejects.toMatchObject({
        code: "insufficient-privilege",
      });
    });
  });

  it("lets maintenance vacuum and reindex the application's tables", async () => {
    await shop.as(shop.names.maintenance, async (session) => {
      const notices: Notice[] = [];
      const onNotice = (notice: Notice) => notices.push(notice);
      await session.query("vacuum (analyze) store.orders", [], { onNotice });
      await session.query("reindex index concurrently store.orders_pkey", [], { onNotice });
      expect(notices.filter(({ severity }) => severity === "WARNING")).toEqual([]);
      await session.query("insert into pgkeep.job_run (id, job) values ('r2', 'vacuum')");
    });
  });

  it("gives the drill counts and hashes, and no row", async () => {
    await shop.as(shop.names.drill, async (session) => {
      const proofs = await session.query<{ rows: number; hash: string }>(
        `select pgkeep.table_rows(c.oid) as rows, pgkeep.table_hash(c.oid) as hash from pg_class c
         where c.relname = 'orders' and c.relkind = 'r'`,
      );
      expect(proofs).toEqual([{ rows: 2, hash: expect.stringMatching(/^2:-?\d+$/) }]);
      for (const table of ["store.orders", "pgkeep.job_run"]) {
        await expect(session.query(`select * from ${table}`)).rejects.toMatchObject({
          code: "insufficient-privilege",
        });
      }
      await expect(session.query("update pgkeep.heartbeat set at = now()")).rejects.toMatchObject({
        code: "read-only",
      });
    });
  });

  it("hands what the master created before to the owner group, with rights for all", async () => {
    const old = await installed(server);
    const { app, reporting, owner } = old.names;
    await old.asMaster(async (session) => {
      await session.query("create schema legacy");
      await session.query("create type legacy.mood as enum ('good')");
      await session.query("create table legacy.things (id serial primary key, mood legacy.mood)");
      await session.query("create function legacy.one(int) returns int language sql as 'select 1'");
      await session.query("insert into legacy.things default values");
    });
    // Even before the next installation: the master's default privileges see to it.
    await old.as(reporting, (session) => session.query("select * from legacy.things"));

    const report = await old.apply();
    expect(report.outcome).toBe("repaired");
    expect(report.repaired.join("\n")).toContain(
      `schema legacy belonged to ${old.master.user}: given to ${owner}`,
    );
    await old.as(app, (session) => session.query("insert into legacy.things default values"));
    const others = await old.as(undefined, (session) =>
      session.query(
        `select 1 from pg_class where relnamespace = 'legacy'::regnamespace and relowner <> $1::regrole
         union all select 1 from pg_proc where pronamespace = 'legacy'::regnamespace and proowner <> $1::regrole
         union all select 1 from pg_type where typnamespace = 'legacy'::regnamespace and typowner <> $1::regrole`,
        [owner],
      ),
    );
    expect(others).toEqual([]);
    expect((await old.apply()).outcome).toBe("unchanged");
  });

  it("works for several databases of one server, each with its own groups", async () => {
    const other = await installed(server);
    await other.as(other.names.migrations, (session) => session.query("create table public.t (a int)"));
    await other.as(other.names.maintenance, (session) => session.query("vacuum public.t"));
    expect((await other.apply()).outcome).toBe("unchanged");
  });
});
