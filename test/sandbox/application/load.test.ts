import { describe, expect, it } from "vitest";
import type { Session } from "../../../lib/ports/databases.ts";
import { hasSqlState } from "../../../lib/postgres/errors.ts";
import { identifier, qualified } from "../../../lib/postgres/identifiers.ts";
import { SqlState } from "../../../lib/postgres/sqlstate.ts";
import { loadApplication } from "../../../lib/sandbox/application/load.ts";
import { allMajors, oldestAndNewest, useServer } from "../../helpers/postgres.ts";

const asOf = new Date("2026-03-31T22:30:00.000Z");

/** One hash for each table, over rows as text in the order of that text. */
async function contents(session: Session): Promise<Record<string, string | null>> {
  const tables = await session.query<{ name: string }>(
    `select relname::text as name from pg_class
      where relnamespace = 'shop'::regnamespace and relkind = 'r' order by relname`,
  );
  const hashes: Record<string, string | null> = {};
  await session.query("set timezone = 'UTC'");
  for (const { name } of tables) {
    const [row] = await session.query<{ hash: string | null }>(
      `select md5(string_agg(t::text, ',' order by t::text)) as hash from ${qualified("shop", name)} t`,
    );
    hashes[name] = row?.hash ?? null;
  }
  return hashes;
}

let firstContents: Record<string, string | null> | undefined;

describe.each(allMajors)("the sample application on PostgreSQL %i", (major) => {
  const server = useServer(major);
  // The rows are compared on all versions, at a fifth of the size; what is made of them on two.
  const outermost = it.runIf(oldestAndNewest.includes(major));

  outermost("is loaded by a role that may become its owner, complete and quick", async () => {
    const database = await server.createDatabase();
    const admin = await server.connect(database);
    await admin.query("create role shop_owner nologin");
    await admin.query("create role shop_loader login password 'x' in role shop_owner");
    await admin.query(`grant create on database ${identifier(database)} to shop_owner`);
    const loader = await server.connect(database, { user: "shop_loader", password: "x" });

    const report = await loadApplication(loader, { owner: "shop_owner", asOf });
    expect(report.created).toBe(true);
    expect(report.rows).toBeGreaterThan(40_000);
    expect(report.tables).toBe(16);
    expect(report.seconds).toBeLessThan(10);

    const owners = await admin.query<{ owner: string }>(
      `select distinct pg_get_userbyid(relowner) as owner from pg_class where relnamespace = 'shop'::regnamespace
       union select pg_get_userbyid(nspowner) from pg_namespace where nspname = 'shop'`,
    );
    expect(owners).toEqual([{ owner: "shop_owner" }]);
    const [who] = await loader.query<{ role: string }>("select current_user::text as role");
    expect(who?.role).toBe("shop_loader");

    const again = await loadApplication(loader, { owner: "shop_owner", asOf });
    expect(again).toMatchObject({ created: false, tables: report.tables, rows: report.rows });
    await loader.close();
    await admin.close();
  });

  it("has the same rows for the same moment on every version, whatever the session's settings", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await session.query("set timezone = 'Pacific/Auckland'");
    await session.query("set datestyle = 'German'");
    await loadApplication(session, { asOf, scale: 0.2 });
    await session.query("reset datestyle");
    const found = await contents(session);
    firstContents ??= found;
    expect(found).toEqual(firstContents);
    expect(Object.keys(found)).toContain("events_2026_06");
    await session.close();
  });

  outermost(
    "keeps what a review would look for: keys indexed, constraints valid, sequences ahead, nothing dead",
    async () => {
      const database = await server.createDatabase('it\'s "a"\nshop; drop — ünïcode');
      const session = await server.connect(database);
      await loadApplication(session, { asOf });

      const uncovered = await session.query(
        `select c.conrelid::regclass::text as "table", c.conname from pg_constraint c
        where c.contype = 'f' and c.connamespace = 'shop'::regnamespace and not exists (
          select from pg_index i where i.indrelid = c.conrelid and i.indisvalid and i.indpred is null
             and (select array_agg(k order by k) from unnest(c.conkey) k) =
                 (select array_agg(k::int2 order by k) from unnest((i.indkey::int2[])[0:cardinality(c.conkey) - 1]) k))`,
      );
      expect(uncovered).toEqual([]);
      const redundant = await session.query(
        `select a.indexrelid::regclass::text as index, b.indexrelid::regclass::text as covered_by
         from pg_index a join pg_index b on a.indrelid = b.indrelid and a.indexrelid <> b.indexrelid
         join pg_class t on t.oid = a.indrelid
        where t.relnamespace = 'shop'::regnamespace and not a.indisunique and a.indpred is null
          and b.indpred is null and a.indexprs is null and b.indexprs is null
          and b.indkey::text || ' ' like a.indkey::text || ' %'`,
      );
      expect(redundant).toEqual([]);
      const [faults] = await session.query(
        `select (select count(*) from pg_constraint where not convalidated) as invalid_constraints,
              (select count(*) from pg_index where not indisvalid) as invalid_indexes,
              (select count(*) from pg_class t where t.relnamespace = 'shop'::regnamespace and t.relkind = 'r'
                 and not exists (select from pg_index i where i.indrelid = t.oid and i.indisprimary)) as without_primary_key,
              (select count(*) from pg_attribute a join pg_class t on t.oid = a.attrelid
                where t.relnamespace = 'shop'::regnamespace and a.attnum > 0
                  and a.atttypid in ('timestamp'::regtype, 'varchar'::regtype, 'money'::regtype, 'json'::regtype)) as doubtful_types,
              (select count(*) from pg_class t where t.relnamespace = 'shop'::regnamespace and t.relkind = 'r'
                 and t.reltuples < 0) as never_analysed,
              (select count(*) from pg_class t where t.relnamespace = 'shop'::regnamespace and t.relkind = 'r'
                 and t.relallvisible < t.relpages) as not_all_visible`,
      );
      expect(faults).toEqual({
        invalid_constraints: 0,
        invalid_indexes: 0,
        without_primary_key: 0,
        doubtful_types: 0,
        never_analysed: 0,
        not_all_visible: 0,
      });
      const identities = await session.query<{ table: string; sequence: string }>(
        `select relname::text as "table", pg_get_serial_sequence(format('shop.%I', relname), 'id') as sequence
         from pg_class t where relnamespace = 'shop'::regnamespace and relkind = 'r'
          and exists (select from pg_attribute where attrelid = t.oid and attidentity <> '')`,
      );
      expect(identities.length).toBeGreaterThanOrEqual(8);
      for (const { table, sequence } of identities) {
        const [row] = await session.query<{ ok: boolean }>(
          `select (select max(id) from ${qualified("shop", table)}) = last_value and is_called as ok from ${sequence}`,
        );
        expect(row, table).toEqual({ ok: true });
      }
      const [totals] = await session.query(
        `select count(*) as wrong from shop.orders o where total_cents <>
         (select sum(quantity * unit_price_cents) from shop.order_items where order_id = o.id)`,
      );
      expect(totals).toEqual({ wrong: 0 });
      await session.close();
    },
  );

  outermost("leaves nothing for autovacuum, whenever the session's statistics arrive", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await loadApplication(session, { asOf, scale: 0.2 });
    await session.query(`select ${major >= 15 ? "pg_stat_force_next_flush()" : "pg_sleep(1.1)"}`);
    const counters = () =>
      session.query(
        `select sum(n_ins_since_vacuum)::int as inserted, sum(n_mod_since_analyze)::int as modified,
                sum(n_dead_tup)::int as dead, sum(n_live_tup)::int > 8000 as live,
                bool_and(last_analyze is not null) as analysed
           from pg_stat_user_tables where schemaname = 'shop'`,
      );
    await expect.poll(counters).toEqual([{ inserted: 0, modified: 0, dead: 0, live: true, analysed: true }]);
    await session.close();
  });

  outermost(
    "refuses a schema of the same name that is somebody else's, and leaves nothing of a failed load",
    async () => {
      const database = await server.createDatabase();
      const session = await server.connect(database);
      await session.query("create schema shop");
      await expect(loadApplication(session)).rejects.toMatchObject({ code: "refused" });
      await session.query("drop schema shop");

      await session.query("create role powerless nologin");
      const denied = await loadApplication(session, { owner: "powerless" }).catch((error: unknown) => error);
      expect(hasSqlState(denied, SqlState.insufficientPrivilege)).toBe(true);
      const left = await session.query("select 1 from pg_namespace where nspname = 'shop'");
      expect(left).toEqual([]);
      await expect(loadApplication(session, { scale: 0 })).rejects.toMatchObject({ code: "usage" });
      await session.close();
    },
  );
});
