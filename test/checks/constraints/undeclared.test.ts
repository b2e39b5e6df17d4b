import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { checkCandidates } from "../../../lib/checks/constraints/check-candidates.ts";
import { missingForeignKeys } from "../../../lib/checks/constraints/missing-foreign-keys.ts";
import { nullableNeverNull } from "../../../lib/checks/constraints/nullable-never-null.ts";
import { referenceIn, tableNames } from "../../../lib/checks/constraints/table-names.ts";
import { uniqueCandidates } from "../../../lib/checks/constraints/unique-candidates.ts";
import type { Session } from "../../../lib/ports/databases.ts";
import { allMajors, defaultMajor, useServer } from "../../helpers/postgres.ts";
import { createLogin, expectMended, flushStatistics, runCheck } from "../../helpers/review.ts";

const majors = allMajors.filter((major) => [14, defaultMajor, 18].includes(major));

describe("names that refer to tables", () => {
  it("are read in the styles that schemas are written in", () => {
    expect(
      ["customer_id", "CustomerId", "orderLineId", "country_code", "id", "paid", "ORDER_ID"].map(referenceIn),
    ).toEqual([
      { stem: "customer", key: "id" },
      undefined,
      { stem: "order_line", key: "id" },
      { stem: "country", key: "code" },
      undefined,
      undefined,
      { stem: "order", key: "id" },
    ]);
    expect(tableNames("category")).toContain("categories");
    expect(tableNames("box")).toContain("boxes");
    expect(tableNames("key")).toEqual(["key", "keys", "keyes"]);
  });
});

describe.each(majors)("what is not declared, PostgreSQL %i", (major) => {
  const server = useServer(major);
  let session: Session;
  let database: string;
  beforeAll(async () => {
    database = await server.createDatabase();
    session = await server.connect(database);
  });
  afterAll(() => session?.close());

  async function schema(statements: string): Promise<void> {
    await session.query("drop schema if exists s cascade");
    await session.query("create schema s");
    await session.query(statements);
  }

  describe("missing foreign keys", () => {
    const check = missingForeignKeys;

    it("finds what is named like a key and has its values, and makes it one", async () => {
      await schema(`
          create table s.customers (id bigint primary key);
          create table s.countries (code text primary key);
          create table s.categories (category_id int primary key, parent_id int);
          create table s.orders (id int primary key, customer_id bigint, country_code text, category_id int);
          create table s."order""; --lines" (id int primary key, order_id int, "customerId" int);
          create table s.parts (id int, customer_id bigint) partition by range (id);
          create table s.parts1 partition of s.parts for values from (0) to (100);
          insert into s.customers select generate_series(1, 10);
          insert into s.countries values ('DE');
          insert into s.categories values (1, null);
          insert into s.orders select g, g, 'DE', 1 from generate_series(1, 10) g;
          insert into s."order""; --lines" select g, g, g from generate_series(1, 10) g;
          insert into s.parts values (1, 1);
        `);
      const { findings } = await runCheck(check, session);
      expect(
        findings.map(({ object, confidence }) => `${object.table}.${object.column} ${confidence}`).sort(),
      ).toEqual([
        'order"; --lines.customerId likely',
        'order"; --lines.order_id likely',
        "orders.category_id likely",
        "orders.country_code likely",
        "orders.customer_id likely",
        "parts.customer_id likely",
      ]);
      for (const column of ["order_id", "country_code"]) {
        await expectMended(
          check,
          session,
          findings.find(({ object }) => object.column === column),
        );
      }
      await expectMended(
        check,
        session,
        findings.find(({ object }) => object.table === "parts"),
      );
    });

    it("claims nothing where values, types, names or the kind of table speak against it", async () => {
      await schema(`
          create table s.users (id bigint primary key);
          create table s.accounts (id uuid primary key);
          insert into s.users select generate_series(1, 10);
          create table s.contradicted (user_id bigint);
          insert into s.contradicted select generate_series(100, 200);
          create table s.other_type (account_id bigint, user_id text);
          create table s.polymorphic (user_id bigint, user_type text);
          create table s.audit_log (user_id bigint);
          create table s.user_history (user_id bigint);
          create table s.has_one (user_id bigint references s.users);
          create table s.unknown (stripe_id text, session_id bigint, valid int, parent_id int);
          create schema if not exists other;
          create table if not exists other.far (user_id bigint);
        `);
      const result = await runCheck(check, session);
      expect(result).toMatchObject({ verdict: "pass", facts: { contradictedByTheirValues: 1 } });
    });

    it("shows the rows that refer to nothing, and suspects where there are no rows or no rights", async () => {
      await schema(`
          create table s.users (id bigint primary key);
          insert into s.users select generate_series(1, 95);
          create table s.broken (user_id bigint);
          insert into s.broken select generate_series(1, 100);
          create table s.empty (user_id bigint);
        `);
      const { findings } = await runCheck(check, session);
      expect(
        findings
          .map(({ object, confidence, evidence }) => [object.table, confidence, evidence.sample])
          .sort(),
      ).toEqual([
        ["broken", "suspected", "95 of 100 values are there"],
        ["empty", "suspected", "no row has a value"],
      ]);
      expect(findings.some((one) => one.fix !== undefined)).toBe(false);
      const guest = await server.connect(database, await createLogin(server, database));
      expect((await runCheck(check, guest)).findings.map(({ evidence }) => evidence.sample)).toEqual([
        "not read",
        "not read",
      ]);
      await guest.close();
    });
  });

  describe("what statistics tell", () => {
    beforeAll(async () => {
      await schema(`
          create table s."ta'ble" (
            id int primary key, "de""fault; --" int default 5, active boolean, created_at timestamptz, code int unique,
            happens int, null_default int default null, later boolean, right_one boolean not null,
            email text, slug text, username text, login text, status text, state text, kind text check (kind in ('a', 'b')),
            note_status text);
          insert into s."ta'ble"
          select g, 5, g % 2 = 0, now(), g, g, g, case when g < 10000 then true end, true,
                 'e' || g, 's' || g, 'u' || g % 5000, 'l' || g, (array['new', 'paid', 'sent'])[g % 3 + 1], 'one', 'a', 'n' || g
            from generate_series(1, 10000) g;
          create unique index on s."ta'ble" (lower(slug));
          create unique index on s."ta'ble" (active, login, id);
          create table s.small (id int primary key, active boolean, email text, status text);
          insert into s.small select g, true, 'e' || g, 'x' from generate_series(1, 100) g;
        `);
      await session.query("vacuum analyze");
    });

    it("is that a column never is null that should not be, and proves it", async () => {
      const { findings, verdict } = await runCheck(nullableNeverNull, session);
      expect(verdict).toBe("findings");
      expect(findings.map(({ object, confidence }) => [object.column, confidence])).toEqual([
        ['de"fault; --', "likely"],
        ["active", "likely"],
        ["created_at", "likely"],
        ["code", "likely"],
        ["login", "likely"],
      ]);
      await expectMended(nullableNeverNull, session, findings[0]);
    });

    it("is that a name of one thing is there once, where nothing keeps it so", async () => {
      const { findings } = await runCheck(uniqueCandidates, session);
      expect(findings).toMatchObject([
        {
          object: { column: "email" },
          confidence: "suspected",
          evidence: { repeatedValues: "none, counted" },
        },
      ]);
      await expectMended(uniqueCandidates, session, findings[0]);
    });

    it("is that a state has few values and accepts any, without telling them", async () => {
      const { findings } = await runCheck(checkCandidates, session);
      expect(findings).toMatchObject([{ object: { column: "status" }, evidence: { values: 3 } }]);
      expect(JSON.stringify(findings)).not.toContain("paid");
      await session.query(findings[0]?.remediation.sql ?? "");
    });

    it("cannot be said without the right to read them, or before ANALYZE", async () => {
      const guest = await server.connect(database, await createLogin(server, database, ["pg_monitor"]));
      for (const check of [nullableNeverNull, uniqueCandidates, checkCandidates]) {
        expect(await runCheck(check, guest)).toMatchObject({
          verdict: "not-assessable",
          reason: expect.stringContaining("GRANT pg_read_all_data TO"),
        });
      }
      await guest.close();
      const reader = await createLogin(server, database, ["pg_read_all_data"]);
      await session.query(`alter table s."ta'ble" enable row level security`);
      const shielded = await server.connect(database, reader);
      expect(await runCheck(checkCandidates, shielded)).toMatchObject({
        verdict: "not-assessable",
        reason: `row security hides the statistics of 1 table from ${reader.user}: ALTER ROLE "${reader.user}" BYPASSRLS;`,
      });
      await shielded.close();
      await session.query(`alter table s."ta'ble" disable row level security`);
      await session.query("create table s.fresh as select g as a from generate_series(1, 20000) g");
      await session.query("alter table s.fresh set (autovacuum_enabled = false)");
      await flushStatistics(session);
      expect(await runCheck(checkCandidates, session)).toMatchObject({
        verdict: "findings",
        reason: "1 table not analysed yet: ANALYZE s.fresh;",
      });
    });
  });
});
