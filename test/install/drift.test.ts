import { beforeAll, describe, expect, it } from "vitest";
import { auditRoles } from "../../lib/install/audit.ts";
import { allMajors, useServer } from "../helpers/postgres.ts";
import { type Installed, installed } from "./installed.ts";

interface Drift {
  what: string;
  /** Run by a superuser, as somebody in a hurry would. */
  byHand: string;
  /** What the audit says, and the report after the repair. */
  found: string;
  repaired: string;
  /** First version that has it. */
  since?: number;
}

const drifts: Drift[] = [
  {
    what: "a right on a table that the reader group should not have",
    byHand: "grant insert on store.orders to shop_reader",
    found: "shop_reader has INSERT on store.orders",
    repaired: "shop_reader had INSERT on store.orders: revoked",
  },
  {
    what: "a right that the writer group lost",
    byHand: "revoke update, delete on store.orders from shop_writer",
    found: "shop_writer lacks DELETE, UPDATE on store.orders",
    repaired: "shop_writer lacked DELETE, UPDATE on store.orders: granted",
  },
  {
    what: "a right given to the login itself",
    byHand: "grant truncate on store.orders to shop_app",
    found: "shop_app has TRUNCATE on store.orders",
    repaired: "shop_app had TRUNCATE on store.orders: revoked",
  },
  {
    what: "a right on a table for PUBLIC",
    byHand: "grant select on store.orders to public",
    found: "PUBLIC has SELECT on store.orders",
    repaired: "PUBLIC had SELECT on store.orders: revoked",
  },
  {
    what: "a right on one column",
    byHand: 'grant update ("odd ""column") on store.orders to shop_reader',
    found: 'shop_reader has UPDATE on column "odd ""column" of store.orders',
    repaired: 'shop_reader had UPDATE on column "odd ""column" of store.orders: revoked',
  },
  {
    what: "a right that may be passed on",
    byHand: "grant select on store.orders to shop_reader with grant option",
    found: "shop_reader may grant SELECT on store.orders",
    repaired: "shop_reader could grant SELECT on store.orders: revoked",
  },
  {
    what: "a right that somebody passed on",
    byHand:
      "grant insert on store.orders to shop_app with grant option; set role shop_app; grant insert on store.orders to shop_reporting; reset role",
    found: "shop_reporting has INSERT on store.orders",
    repaired: "shop_app had INSERT on store.orders: revoked",
  },
  {
    what: "a right on a sequence",
    byHand: "grant update on sequence store.orders_id_seq to shop_writer",
    found: "shop_writer has UPDATE on store.orders_id_seq",
    repaired: "shop_writer had UPDATE on store.orders_id_seq: revoked",
  },
  {
    what: "a right on a schema",
    byHand: "grant create on schema store to shop_app",
    found: "shop_app has CREATE on schema store",
    repaired: "shop_app had CREATE on schema store: revoked",
  },
  {
    what: "PUBLIC back in schema public",
    byHand: "grant create on schema public to public",
    found: "PUBLIC has CREATE on schema public",
    repaired: "PUBLIC had CREATE on schema public: revoked",
    since: 15,
  },
  {
    what: "PUBLIC back in the database",
    byHand: "grant connect on database shop to public",
    found: "PUBLIC has CONNECT on database shop",
    repaired: "PUBLIC had CONNECT on database shop: revoked",
  },
  {
    what: "a right on pgkeep's own tables",
    byHand: "grant delete on pgkeep.backup_manifest to pgkeep_drill",
    found: "pgkeep_drill has DELETE on pgkeep.backup_manifest",
    repaired: "pgkeep_drill had DELETE on pgkeep.backup_manifest: revoked",
  },
  {
    what: "one of pgkeep's functions open to PUBLIC",
    byHand: "grant execute on function pgkeep.table_hash(regclass) to public",
    found: "PUBLIC has EXECUTE on pgkeep.table_hash(regclass)",
    repaired: "PUBLIC had EXECUTE on pgkeep.table_hash(regclass): revoked",
  },
  {
    what: "default privileges that were removed",
    byHand: "alter default privileges for role shop_owner revoke select on tables from shop_reader",
    found: "shop_reader lacks SELECT on future tables of shop_owner",
    repaired: "shop_reader lacked SELECT on future tables of shop_owner: granted",
  },
  {
    what: "default privileges that are too wide, in one schema",
    byHand: "alter default privileges for role shop_owner in schema store grant all on tables to shop_reader",
    found: "on future tables of shop_owner in store",
    repaired: "on future tables of shop_owner in store: revoked",
  },
  {
    what: "a dangerous attribute",
    byHand: "alter role shop_app createrole createdb",
    found: "role shop_app has CREATEROLE",
    repaired: "role shop_app had CREATEROLE: removed",
  },
  {
    what: "a group that can log in",
    byHand: "alter role shop_writer login",
    found: "role shop_writer has LOGIN",
    repaired: "role shop_writer had LOGIN: removed",
  },
  {
    what: "a login that was switched off",
    byHand: "alter role shop_app nologin",
    found: "role shop_app lacks LOGIN",
    repaired: "role shop_app lacked LOGIN: added",
  },
  {
    what: "a connection limit",
    byHand: "alter role shop_reporting connection limit 1",
    found: "role shop_reporting has connection limit 1 instead of 20",
    repaired: "role shop_reporting had connection limit 1: set to 20",
  },
  {
    what: "a timeout that was switched off",
    byHand: "alter role shop_app set statement_timeout = 0",
    found: "statement_timeout of shop_app is 0 instead of 30s",
    repaired: "statement_timeout of shop_app was 0: set to 30s",
  },
  {
    what: "a timeout for this database alone",
    byHand: "alter role shop_app in database shop set lock_timeout = '1h'",
    found: "lock_timeout of shop_app in database shop is 1h",
    repaired: "lock_timeout of shop_app in database shop was 1h: reset",
  },
  {
    what: "a migrations role that no longer acts as owner",
    byHand: "alter role shop_migrations in database shop reset role",
    found: "role of shop_migrations in database shop is not set instead of shop_owner",
    repaired: "role of shop_migrations in database shop was not set: set to shop_owner",
  },
  {
    what: "a reporting role that writes by default",
    byHand: "alter role shop_reporting reset default_transaction_read_only",
    found: "default_transaction_read_only of shop_reporting is not set instead of on",
    repaired: "default_transaction_read_only of shop_reporting was not set: set to on",
  },
  {
    what: "a table that belongs to the application",
    byHand: "alter table store.items owner to shop_app",
    found: "store.items belongs to shop_app instead of shop_owner",
    repaired: "store.items belonged to shop_app: given to shop_owner",
  },
  {
    what: "a function that belongs to the migrations login",
    byHand: "alter function store.one(text) owner to shop_migrations",
    found: "store.one(text) belongs to shop_migrations instead of shop_owner",
    repaired: "store.one(text) belonged to shop_migrations: given to shop_owner",
  },
  {
    what: "a schema that belongs to the writer group",
    byHand: "alter schema store owner to shop_writer",
    found: "schema store belongs to shop_writer instead of shop_owner",
    repaired: "schema store belonged to shop_writer: given to shop_owner",
  },
];

describe.each(allMajors)("what was changed by hand on PostgreSQL %i", (major) => {
  const server = useServer(major);
  let shop: Installed;

  beforeAll(async () => {
    shop = await installed(server, { database: "shop" });
    await shop.as(shop.names.migrations, async (session) => {
      await session.query("create schema store");
      await session.query('create table store.orders (id serial primary key, "odd ""column" text)');
      await session.query("create table store.items (id serial primary key)");
      await session.query("create function store.one(text) returns int language sql as 'select 1'");
    });
  });

  const byHand = (sql: string) => shop.as(undefined, (session) => session.query(sql));
  const audit = () => shop.asMaster((session) => auditRoles(session, shop.config));

  it.each(drifts.filter(({ since }) => (since ?? 14) <= major))("finds and repairs $what", async (drift) => {
    await byHand(drift.byHand);
    const before = await audit();
    expect(before.findings.map(({ reason }) => reason).join("\n")).toContain(drift.found);

    const report = await shop.apply();
    expect(report).toMatchObject({ outcome: "repaired", created: [], unresolved: [] });
    expect(report.repaired.join("\n")).toContain(drift.repaired);

    const after = await audit();
    expect(after.findings.filter(({ repairable }) => repairable)).toEqual([]);
    // What is left is what the master never could change.
    expect(after.findings.map(({ sql }) => sql)).toEqual(
      major === 14 ? ["ALTER SCHEMA public OWNER TO pg_database_owner"] : [],
    );
  });

  it("finds a membership added by hand, and revokes it where the master may", async () => {
    await shop.asMaster((session) => session.query("grant shop_owner to shop_app"));
    const report = await shop.apply();
    expect(report.repaired).toEqual(["shop_app was a member of shop_owner: revoked"]);
    const members = await byHand(
      "select 1 from pg_auth_members where roleid = 'shop_owner'::regrole and member = 'shop_app'::regrole",
    );
    expect(members).toEqual([]);
  });

  it("gives back a membership that was taken away", async () => {
    await shop.asMaster((session) => session.query("revoke shop_writer from shop_app"));
    expect((await audit()).findings.map(({ reason }) => reason)).toContain("shop_app is not in shop_writer");
    expect((await shop.apply()).repaired).toEqual(["shop_app was not in shop_writer: added"]);
  });

  it("says who must take back what only a superuser could give", async () => {
    await byHand("grant pg_execute_server_program to shop_app");
    const report = await shop.apply();
    if (major < 16) {
      expect(report.repaired).toEqual(["shop_app was a member of pg_execute_server_program: revoked"]);
    } else {
      const [left] = report.blocked;
      expect(left?.reason).toBe("shop_app is a member of pg_execute_server_program");
      expect(left?.needs).toContain("postgres");
      await byHand(left?.sql as string);
    }
    expect((await audit()).findings.filter(({ reason }) => reason.includes("shop_app"))).toEqual([]);
  });

  it("says who must remove SUPERUSER, BYPASSRLS and REPLICATION", async () => {
    await byHand("alter role shop_app superuser bypassrls replication");
    const report = await shop.apply();
    const left = report.blocked.filter(({ reason }) => reason.startsWith("role shop_app"));
    expect(left.map(({ reason }) => reason).sort()).toEqual([
      "role shop_app has BYPASSRLS",
      "role shop_app has REPLICATION",
      "role shop_app has SUPERUSER",
    ]);
    for (const { sql, needs } of left) {
      expect(needs).toBe("a superuser");
      await byHand(sql);
    }
    expect((await shop.apply()).outcome).toBe("unchanged");
  });

  it("reports a table of somebody else without taking it away", async () => {
    await byHand(
      "create role outsider nologin; create table store.theirs (a int); alter table store.theirs owner to outsider",
    );
    const { findings } = await audit();
    expect(findings.filter(({ reason }) => reason.includes("store.theirs"))).toEqual([
      expect.objectContaining({
        reason: "store.theirs belongs to outsider, so rights on it cannot be managed",
        sql: 'ALTER TABLE store.theirs OWNER TO "shop_owner"',
        repairable: false,
      }),
    ]);
    await shop.apply();
    const owner = await byHand("select tableowner from pg_tables where tablename = 'theirs'");
    expect(owner).toEqual([{ tableowner: "outsider" }]);
    await byHand("drop table store.theirs; drop role outsider");
  });

  it("leaves alone what it does not manage", async () => {
    await byHand("create role analyst nologin");
    await byHand("grant select on store.orders to analyst");
    await byHand("grant shop_reader to analyst");
    await byHand("alter role shop_app set search_path = store, public");
    await byHand("alter role shop_app set work_mem = '8MB'");
    expect((await shop.apply()).outcome).toBe("unchanged");
  });
});
