import { beforeAll, describe, expect, it } from "vitest";
import { allMajors, useServer } from "../helpers/postgres.ts";
import { type Installed, installed } from "./installed.ts";

/** On RDS this role may log in to any database of the account: IAM cannot name a restored instance before it exists. */
describe.each(allMajors)("the drill's role is worth little, on PostgreSQL %i", (major) => {
  const server = useServer(major);
  let shop: Installed;

  beforeAll(async () => {
    shop = await installed(server);
    if (major === 14) {
      // What docs/roles.md says that only a superuser can do there.
      await shop.as(undefined, (session) => session.query("alter schema public owner to pg_database_owner"));
      await shop.apply();
    }
    await shop.as(shop.names.migrations, async (session) => {
      await session.query("create table public.customers (id int primary key, name text)");
      await session.query("insert into public.customers values (1, 'secret')");
      await session.query("create schema store");
      await session.query("create table store.orders (id int)");
      await session.query("create sequence store.numbers");
    });
  });

  /** Its sessions are read-only until somebody says otherwise, as whoever stole the login would. */
  const drill = (sql: string) =>
    shop.as(shop.names.drill, async (session) => {
      await session.query("set default_transaction_read_only = off");
      return await session.query(sql);
    });

  it("is a member of no role and has no attribute but its login", async () => {
    const rows = await drill(`
      select rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls,
             (select count(*) from pg_auth_members where member = r.oid) as memberships
        from pg_roles r where rolname = current_user`);
    expect(rows).toEqual([
      {
        rolsuper: false,
        rolcreatedb: false,
        rolcreaterole: false,
        rolreplication: false,
        rolbypassrls: false,
        memberships: 0,
      },
    ]);
  });

  it.each([
    "select * from public.customers",
    "select * from store.orders",
    "table store.numbers",
    "select nextval('store.numbers')",
    "insert into public.customers values (2, 'x')",
    "delete from store.orders",
    "copy public.customers to stdout",
    "create table public.mine (a int)",
    "create table pgkeep.mine (a int)",
    "create temporary table mine (a int)",
    "create schema mine",
    "drop table public.customers",
    "select * from pgkeep.job_run",
    "insert into pgkeep.backup_manifest default values",
    "delete from pgkeep.heartbeat",
    "select pgkeep.scan_source('public.customers'::regclass)",
    "select pg_read_file('postgresql.conf')",
    "select * from pg_authid",
    "set role pgkeep_maintenance",
    "set role pgkeep",
    "alter role pgkeep_monitoring password 'x'",
    "alter system set work_mem = '1GB'",
    "checkpoint",
  ])("may not: %s", async (sql) => {
    await expect(drill(sql)).rejects.toMatchObject({ code: "insufficient-privilege" });
  });

  it("may write nothing that stays, and execute only what tells counts, hashes and damage", async () => {
    const [row] = await shop.as(shop.names.drill, (session) =>
      session.query<{ writable: string[]; callable: string[] }>(`
        select array(select c.oid::regclass::text from pg_class c
                      where c.relnamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
                        and c.relkind in ('r', 'p', 'v', 'm', 'f')
                        and has_table_privilege(c.oid, 'insert, update, delete, truncate, trigger')) as writable,
               array(select p.proname::text from pg_proc p where p.pronamespace = 'pgkeep'::regnamespace
                        and has_function_privilege(p.oid, 'execute') order by 1) as callable`),
    );
    expect(row?.writable).toEqual([]);
    expect(row?.callable).toEqual([
      "check_heap",
      "check_index",
      "sequence_state",
      "table_hash",
      "table_rows",
      "validate_foreign_key",
    ]);
  });
});
