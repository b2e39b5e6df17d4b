import { describe, expect, it } from "vitest";
import { planInstall } from "../../lib/install/plan.ts";
import { identifier, qualified } from "../../lib/postgres/identifiers.ts";
import { allMajors, useServer } from "../helpers/postgres.ts";
import { installed } from "./installed.ts";

const names = [
  "quote\"s and 'apostrophes'",
  "spaces  and\nnew\tlines",
  "back\\slash $1 $$ %I %s {}",
  "Größe 🐘 数据库",
  "x".repeat(63),
  "é".repeat(31),
  "-- comment; drop database postgres; /*",
  "select",
  "PUBLIC",
];

describe.each(allMajors)("names that nobody should choose, on PostgreSQL %i", (major) => {
  const server = useServer(major);

  it.each(names)("installs, repairs and works in %j", async (name) => {
    const shop = await installed(server, { database: name });
    const { app, reporting, migrations, owner, reader } = shop.names;
    expect(shop.report).toMatchObject({ outcome: "installed", unresolved: [] });
    const table = qualified(name, name);
    await shop.as(migrations, async (session) => {
      await session.query(`create schema ${identifier(name)}`);
      await session.query(`create table ${table} (${identifier(name)} text primary key)`);
    });
    await shop.as(app, (session) => session.query(`insert into ${table} values ($1)`, [name]));
    await shop.as(reporting, async (session) => {
      expect(await session.query(`select * from ${table}`)).toEqual([{ [name]: name }]);
    });
    expect((await shop.apply()).outcome).toBe("unchanged");

    await shop.as(undefined, async (session) => {
      await session.query(`grant insert (${identifier(name)}) on ${table} to ${identifier(reader)}`);
      await session.query(`grant delete on ${table} to ${identifier(reader)}`);
      await session.query(`alter table ${table} owner to ${identifier(app)}`);
      await session.query(`alter role ${identifier(app)} set statement_timeout = 0`);
      await session.query(`alter role ${identifier(migrations)} in database ${identifier(name)} reset role`);
    });
    const report = await shop.apply();
    expect(report).toMatchObject({ outcome: "repaired", unresolved: [] });
    expect(report.repaired).toHaveLength(5);
    const plan = await shop.asMaster((session) => planInstall(session, shop.config));
    expect(plan.changes).toEqual([]);
    await shop.as(migrations, async (session) => {
      expect(await session.query("select current_user as acts")).toEqual([{ acts: owner }]);
    });
  });

  it("uses the prefix of the configuration", async () => {
    const shop = await installed(server, { sections: { roles: { prefix: 'te"am one' } } });
    expect(shop.names.app).toBe('te"am one_app');
    expect((await shop.apply()).outcome).toBe("unchanged");
  });
});
