import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { foreignKeyTypes } from "../../../lib/checks/constraints/foreign-key-types.ts";
import { notEnforcedConstraints } from "../../../lib/checks/constraints/not-enforced-constraints.ts";
import { notValidConstraints } from "../../../lib/checks/constraints/not-valid-constraints.ts";
import { tablesWithoutPrimaryKey } from "../../../lib/checks/constraints/tables-without-primary-key.ts";
import type { Session } from "../../../lib/ports/databases.ts";
import { allMajors, defaultMajor, useServer } from "../../helpers/postgres.ts";
import { createLogin, expectMended, flushStatistics, runCheck, runChecks } from "../../helpers/review.ts";

const majors = allMajors.filter((major) => [14, defaultMajor, 18].includes(major));

const checks = [tablesWithoutPrimaryKey, notValidConstraints, notEnforcedConstraints, foreignKeyTypes];

describe.each(majors)("what is declared, PostgreSQL %i", (major) => {
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

  it("passes on an empty database, and on a sound one of every kind of table", async () => {
    await schema("select 1");
    const empty = await runChecks(checks, session);
    expect(empty.results.map(({ verdict }) => verdict)).toEqual(["pass", "pass", "pass", "pass"]);
    await schema(`
      create table s.p (id bigint primary key, code varchar(20) not null unique, n int check (n > 0));
      create table s.c (id int, p bigint references s.p, code text references s.p (code), primary key (id, p));
      create table s.small (p bigint primary key references s.p);
      create table s.parts (id int not null, d date not null, p bigint references s.p, primary key (id, d)) partition by range (d);
      create table s.parts1 partition of s.parts for values from ('2026-01-01') to ('2026-02-01');
      create view s.v as select 1 as a;
      create materialized view s.m as select 1 as a;
      create temporary table temporary_one (a int);
    `);
    const { results } = await runChecks(checks, session);
    expect(results.map(({ check, verdict }) => `${check}: ${verdict}`)).toEqual(
      checks.map(({ name }) => `${name}: pass`),
    );
    expect(results.flatMap(({ good }) => good)).toEqual([
      "Each of the 5 tables has a primary key.",
      "Every constraint is validated.",
      "Every constraint is enforced.",
      "Each of the 4 foreign keys can hold what it refers to.",
    ]);
    await session.query("drop table temporary_one");
  });

  describe("tables without a primary key", () => {
    const check = tablesWithoutPrimaryKey;

    it("shows the key that a table could have, and makes it one", async () => {
      await schema(`
        create table s."ta'b.le" ("i""d; --" int not null, b int);
        create unique index "in""dex; --" on s."ta'b.le" ("i""d; --");
        create table s.by_constraint (a int not null, b int not null, unique (a, b));
        create table s.nullable (a int unique, b int, id int);
        create unique index on s.nullable (b) where b > 1;
        create unique index on s.nullable ((a + 1));
        create table s.parted (a int) partition by list (a);
        create table s.parted1 partition of s.parted for values in (1);
      `);
      await session.query(`insert into s.by_constraint values (1, 1)`);
      await session.query(`delete from s.by_constraint`);
      await flushStatistics(session);
      const { findings } = await runCheck(check, session);
      expect(
        findings
          .map(({ object, evidence, severity }) => [object.table, evidence.uniqueNotNull, severity])
          .sort(),
      ).toEqual([
        ["by_constraint", "a, b", "medium"],
        ["nullable", "none", "low"],
        ["parted", "none", "low"],
        ["ta'b.le", 'i"d; --', "low"],
      ]);
      for (const table of ["ta'b.le", "by_constraint"]) {
        await expectMended(
          check,
          session,
          findings.find(({ object }) => object.table === table),
        );
      }
      const none = findings.find(({ object }) => object.table === "nullable");
      await session.query(none?.remediation.sql ?? "");
      expect((await runCheck(check, session)).findings).toHaveLength(3);
      await session.query(none?.remediation.rollback ?? "");
    });

    it("says when a published table cannot be updated at all", async () => {
      await schema(`
        create table s.published (a int);
        create table s.full_identity (a int);
        alter table s.full_identity replica identity full;
        create publication p for table s.published, s.full_identity;
      `);
      const { findings } = await runCheck(check, session);
      expect(findings.map(({ object, severity }) => [object.table, severity]).sort()).toEqual([
        ["full_identity", "low"],
        ["published", "high"],
      ]);
      await session.query("drop publication p");
      await session.query(
        major >= 15 ? "create publication p for tables in schema s" : "create publication p for all tables",
      );
      expect((await runCheck(check, session)).findings.map(({ severity }) => severity).sort()).toEqual([
        "high",
        "low",
      ]);
      await session.query("drop publication p");
    });
  });

  describe("constraints that were never validated", () => {
    const check = notValidConstraints;

    it("counts the rows that break a foreign key, and validates what none breaks", async () => {
      await schema(`
        create table s.p (id int primary key);
        insert into s.p values (1);
        create table s.broken (r int);
        insert into s.broken values (1), (2), (3), (null);
        alter table s.broken add constraint "br""oken; --" foreign key (r) references s.p not valid;
        create table s.sound (r int);
        insert into s.sound values (1), (null);
        alter table s.sound add constraint sound foreign key (r) references s.p not valid;
        alter table s.sound add constraint ch check (r < 10) not valid;
        create table s.parent (a int);
        create table s.child () inherits (s.parent);
        alter table s.parent add constraint inherited check (a > 0) not valid;
        create domain s.positive int;
        alter domain s.positive add constraint pos check (value > 0) not valid;
      `);
      const { findings } = await runCheck(check, session);
      expect(
        findings
          .map(({ object, severity, evidence }) => [object.name, severity, evidence.rowsThatBreakIt])
          .sort(),
      ).toEqual([
        ['br"oken; --', "high", "2"],
        ["ch", "low", "not counted"],
        ["inherited", "low", "not counted"],
        ["pos", "low", "not counted"],
        ["sound", "medium", 0],
      ]);
      for (const name of ["sound", "ch"]) {
        await expectMended(
          check,
          session,
          findings.find(({ object }) => object.name === name),
        );
      }
      expect(findings.find(({ object }) => object.name === 'br"oken; --')).not.toHaveProperty("fix");
      const domain = findings.find(({ object }) => object.name === "pos");
      await session.query(domain?.remediation.sql ?? "");
      expect((await runCheck(check, session)).findings).toHaveLength(4);
    });

    it("tells it to a role that may only connect, and does not wait for a locked table", async () => {
      await schema(`
        create table s.p (id int primary key);
        create table s.c (r int);
        alter table s.c add constraint c foreign key (r) references s.p not valid;
      `);
      const guest = await server.connect(database, await createLogin(server, database));
      expect((await runCheck(check, guest)).findings).toMatchObject([
        { evidence: { rowsThatBreakIt: "not counted" }, severity: "medium" },
      ]);
      const started = performance.now();
      await session.transaction(async () => {
        await session.query("lock table s.c in access exclusive mode");
        const report = await runChecks(checks, guest);
        expect(report.results.flatMap(({ findings }) => findings.map(({ key }) => key))).toContain(
          "not-valid-constraints/s.c.c",
        );
      });
      expect(performance.now() - started).toBeLessThan(15_000);
      await guest.close();
    });
  });

  describe("constraints that are not enforced", () => {
    const check = notEnforcedConstraints;

    it("finds a foreign key whose triggers are disabled, and enables them", async () => {
      await schema(`
        create table s.p (id int primary key);
        create table s."chi'ld" (r int references s.p);
        create table s.other (r int references s.p);
        alter table s."chi'ld" disable trigger all;
      `);
      const { findings } = await runCheck(check, session);
      expect(findings).toMatchObject([
        {
          severity: "high",
          object: { schema: "s", table: "chi'ld", name: "chi'ld_r_fkey" },
          evidence: { triggersDisabled: 2, onTables: [`"s"."chi'ld"`] },
        },
      ]);
      await expectMended(check, session, findings[0]);
      // The referenced side counts as well: deletes there go unchecked.
      await session.query(`alter table s."chi'ld" enable trigger all`);
      await session.query("alter table s.p disable trigger all");
      expect((await runCheck(check, session)).findings.map(({ object }) => object.table).sort()).toEqual([
        "chi'ld",
        "other",
      ]);
    });

    it("says it once for a partitioned table, and nothing of a user's own trigger that is off", async () => {
      await schema(`
        create table s.p (id int primary key);
        create table s.parts (id int, r int references s.p) partition by range (id);
        create table s.parts1 partition of s.parts for values from (1) to (10);
        create table s.parts2 partition of s.parts for values from (10) to (20);
        create function s.f() returns trigger language plpgsql as 'begin return new; end';
        create trigger own before insert on s.p for each row execute function s.f();
        alter table s.p disable trigger own;
      `);
      expect((await runCheck(check, session)).verdict).toBe("pass");
      await session.query("alter table s.parts1 disable trigger all");
      await session.query("alter table s.parts2 disable trigger all");
      expect((await runCheck(check, session)).findings).toMatchObject([
        { object: { table: "parts" }, evidence: { onTables: ['"s"."parts1"', '"s"."parts2"'] } },
      ]);
    });

    it("finds roles whose sessions skip all of them", async () => {
      await schema("select 1");
      await session.query(`create role "load""er"`);
      await session.query(`alter role "load""er" set session_replication_role = replica`);
      const { findings } = await runCheck(check, session);
      expect(findings).toMatchObject([{ severity: "high", object: { role: 'load"er' } }]);
      await expectMended(check, session, findings[0]);
      await session.query(`alter role "load""er" reset all`);
    });

    it.runIf(major >= 18)(
      "finds what is declared NOT ENFORCED (from 18 on), and enforces foreign keys",
      async () => {
        await schema(`
        create table s.p (id int primary key);
        create table s.c (r int, constraint k foreign key (r) references s.p not enforced,
          constraint ch check (r > 1) not enforced);
      `);
        const { findings } = await runCheck(check, session);
        expect(findings.map(({ object }) => object.name)).toEqual(["ch", "k"]);
        await expectMended(check, session, findings[0]);
        await expectMended(check, session, findings[1]);
        expect(await runCheck(notValidConstraints, session)).toMatchObject({ verdict: "pass" });
      },
    );
  });

  it("finds foreign keys that cannot hold, or not compare with, what they refer to", async () => {
    await schema(`
      create domain s.ident as bigint;
      create table s.p (id bigint primary key, small smallint unique, n numeric unique, d s.ident unique, t text unique);
      create table s.c (
        "nar""row; --" int references s.p (id),
        wide bigint references s.p (small),
        decimals bigint references s.p (n),
        dom int references s.p (d),
        same s.ident references s.p (id),
        t varchar(3) references s.p (t)
      );
    `);
    const { findings } = await runCheck(foreignKeyTypes, session);
    expect(findings.map(({ object, severity }) => [object.column, severity])).toEqual([
      ['nar"row; --', "medium"],
      ["decimals", "low"],
      ["dom", "medium"],
    ]);
    for (const { remediation } of findings) await session.query(remediation.sql);
    expect(await runCheck(foreignKeyTypes, session)).toMatchObject({ verdict: "pass" });
  });
});
