import { describe, expect, it } from "vitest";
import { applyInstall } from "../../lib/install/apply.ts";
import { auditRoles } from "../../lib/install/audit.ts";
import { planInstall } from "../../lib/install/plan.ts";
import { currentSchemaVersion, requireSchema, schemaFiles } from "../../lib/install/schema-version.ts";
import { configFor } from "../helpers/config.ts";
import { allMajors, defaultMajor, type TestServer, useServer } from "../helpers/postgres.ts";
import { installed } from "./installed.ts";

/** What an installation would leave: nothing of it may be there after a refusal. */
async function traces(server: TestServer, database: string): Promise<unknown[]> {
  const session = await server.connect(database);
  try {
    return await session.query(
      `select rolname from pg_roles where starts_with(rolname, $1)
       union all select nspname from pg_namespace where nspname = 'pgkeep'`,
      [`${database}_`],
    );
  } finally {
    await session.close();
  }
}

describe.each(allMajors)("an installation that is not possible on PostgreSQL %i", (major) => {
  const server = useServer(major);

  it("names what an ordinary user lacks, and leaves nothing half done", async () => {
    const database = await server.createDatabase();
    const superuser = await server.connect(database);
    await superuser.query("create role plain login password 'p'");
    await superuser.close();
    const session = await server.connect(database, { user: "plain", password: "p" });
    const failure = await applyInstall(session, configFor(database)).catch((error) => error);
    expect(failure).toMatchObject({ code: "insufficient-privilege" });
    expect(failure.message).toContain(
      `plain may not install pgkeep in database ${database}; nothing was changed.`,
    );
    expect(failure.message).toContain("a role with CREATEROLE");
    expect(failure.message).toContain("the owner of the database (postgres)");
    expect(failure.remedy).toContain("master user");
    // The plan shows the same without failing.
    const plan = await planInstall(session, configFor(database));
    expect(plan.blocked.filter(({ required }) => required)).not.toEqual([]);
    await session.close();
    expect(await traces(server, database)).toEqual([]);
  });

  it("names a database that belongs to somebody else", async () => {
    const database = await server.createDatabase();
    const other = await server.createDatabase();
    const master = await server.createMaster(other);
    const session = await server.connect(database, master);
    await expect(applyInstall(session, configFor(database))).rejects.toMatchObject({
      code: "insufficient-privilege",
      message: expect.stringContaining("the owner of the database (postgres)"),
    });
    await session.close();
    expect(await traces(server, database)).toEqual([]);
  });

  it("refuses a target whose transactions are read-only", async () => {
    const database = await server.createDatabase();
    const master = await server.createMaster(database);
    const session = await server.connect(database, master);
    await session.query("set default_transaction_read_only = on");
    await expect(applyInstall(session, configFor(database))).rejects.toMatchObject({
      code: "read-only",
      message: expect.stringContaining("read-only"),
      remedy: expect.stringContaining("primary"),
    });
    await session.close();
    expect(await traces(server, database)).toEqual([]);
  });

  it("works as a superuser too", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    const report = await applyInstall(session, configFor(database));
    expect(report).toMatchObject({ outcome: "installed", blocked: [], unresolved: [] });
    expect(await applyInstall(session, configFor(database))).toMatchObject({
      outcome: "unchanged",
      unresolved: [],
    });
    await session.close();
  });
});

describe("an installation meets", () => {
  const server = useServer(defaultMajor);

  it("a schema of a newer pgkeep: refuses, and changes nothing", async () => {
    const shop = await installed(server);
    await shop.as(undefined, async (session) => {
      await session.query("insert into pgkeep.schema_version (version) values (99)");
      await session.query(`alter role "${shop.names.app}" createdb`);
    });
    const refusal = {
      code: "newer-schema",
      message: `database ${shop.database} has schema pgkeep in version 99; this pgkeep knows versions up to ${await currentSchemaVersion()}`,
    };
    await expect(shop.apply()).rejects.toMatchObject(refusal);
    await shop.asMaster(async (session) => {
      await expect(auditRoles(session, shop.config)).rejects.toMatchObject(refusal);
    });
    await shop.as(shop.names.monitoring, async (session) => {
      await expect(requireSchema(session)).rejects.toMatchObject(refusal);
    });
    const app = await shop.as(undefined, (session) =>
      session.query("select rolcreatedb from pg_roles where rolname = $1", [shop.names.app]),
    );
    expect(app).toEqual([{ rolcreatedb: true }]);
  });

  it("an older schema: upgrades it from each version, and keeps what it holds", async () => {
    const files = await schemaFiles();
    for (const { version } of files.slice(0, -1)) {
      const shop = await installed(server);
      await shop.as(undefined, async (session) => {
        await session.query("drop schema pgkeep cascade");
        await session.query("create schema pgkeep authorization pgkeep");
        for (const file of files.filter((one) => one.version <= version)) {
          await session.query(`set role pgkeep; ${file.sql};
            insert into pgkeep.schema_version (version) values (${file.version}); reset role`);
        }
        await session.query("insert into pgkeep.job_run (id, job) values ('kept', 'vacuum')");
        await expect(requireSchema(session)).rejects.toMatchObject({ code: "not-installed" });
      });
      const report = await shop.apply();
      expect(report).toMatchObject({ outcome: "upgraded", schemaVersion: files.length });
      const applied = report.created.filter((line) => /^schema pgkeep: version/.test(line));
      expect(applied).toHaveLength(files.length - version);
      await shop.as(shop.names.monitoring, async (session) => {
        await requireSchema(session);
        expect(await session.query("select id from pgkeep.job_run")).toEqual([{ id: "kept" }]);
      });
    }
  });

  it("somebody else's schema of that name: refuses", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await session.query("create schema pgkeep; create table pgkeep.treasure (a int)");
    await expect(applyInstall(session, configFor(database))).rejects.toMatchObject({
      code: "refused",
      message: `database ${database} has a schema pgkeep of somebody else`,
    });
    await session.close();
  });

  it("somebody else's roles of those names: refuses to make them something else", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await session.query(`create role ${database}_owner login; create role ${database}_app nologin`);
    await expect(applyInstall(session, configFor(database))).rejects.toMatchObject({
      code: "refused",
      message: `these roles exist and are not pgkeep's: ${database}_owner, ${database}_app`,
      remedy: expect.stringContaining("roles.prefix"),
    });
    expect(
      await session.query("select rolcanlogin from pg_roles where rolname = $1", [`${database}_owner`]),
    ).toEqual([{ rolcanlogin: true }]);
    await session.close();
  });

  it("a role that was prepared for it: adopts it", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await session.query(`create role ${database}_app login connection limit 3`);
    const report = await applyInstall(session, configFor(database));
    expect(report.created).toContain(`role ${database}_app existed: adopted`);
    expect(await applyInstall(session, configFor(database))).toMatchObject({ outcome: "unchanged" });
    await session.close();
  });

  it("a session in another database than the configuration's: refuses", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await expect(applyInstall(session, configFor("elsewhere"))).rejects.toMatchObject({
      code: "refused",
      message: `the session is connected to database ${database}, the configuration describes elsewhere`,
    });
    await session.close();
  });

  it("passwords for roles that are not its logins: refuses", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    const passwords = { [`${database}_owner`]: "x", postgres: "y" };
    await expect(applyInstall(session, configFor(database), { passwords })).rejects.toMatchObject({
      code: "usage",
      message: `no login role of pgkeep is called ${database}_owner, postgres`,
    });
    await session.close();
  });

  it("a table that was dropped from its schema: says so, and repairs the rest", async () => {
    const shop = await installed(server);
    await shop.as(undefined, async (session) => {
      await session.query("drop table pgkeep.heartbeat");
      await session.query(`alter role "${shop.names.app}" createdb`);
    });
    const report = await shop.apply();
    expect(report.repaired).toEqual([`role ${shop.names.app} had CREATEDB: removed`]);
    expect(report.blocked.map(({ reason }) => reason)).toEqual(["table pgkeep.heartbeat is missing"]);
  });

  it("a table locked by somebody else: gives up with the table's name and nothing changed", async () => {
    const shop = await installed(server);
    await shop.asMaster((session) => session.query("create table public.busy (a int)"));
    const holder = await server.connect(shop.database);
    await holder.query("begin");
    await holder.query("lock table public.busy in access exclusive mode");
    const failure = await shop.apply().catch((error) => error);
    await holder.query("rollback");
    await holder.close();
    expect(failure).toMatchObject({ code: "timeout", remedy: expect.stringContaining("pgkeep health") });
    expect(failure.message).toContain("public.busy belongs to");
    expect((await shop.apply()).outcome).toBe("repaired");
  });

  it("another installation in the same database: waits for it", async () => {
    const database = await server.createDatabase();
    const master = await server.createMaster(database);
    const outcomes = await Promise.all(
      Array.from({ length: 4 }, async () => {
        const session = await server.connect(database, master);
        const report = await applyInstall(session, configFor(database));
        await session.close();
        return report.outcome;
      }),
    );
    expect(outcomes.sort()).toEqual(["installed", "unchanged", "unchanged", "unchanged"]);
  });

  it("another installation that does not end: says so", async () => {
    const shop = await installed(server);
    const holder = await server.connect(shop.database);
    await holder.query("begin");
    await holder.query("select pg_advisory_xact_lock($1::int, hashtext('install'))", [0x70676b65]);
    await expect(shop.apply({ waitSeconds: 0.3 })).rejects.toMatchObject({
      code: "refused",
      message: `another installation is running in database ${shop.database}`,
    });
    await holder.query("rollback");
    await holder.close();
  });

  it("a signal to stop: stops, and leaves nothing", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await expect(
      applyInstall(session, configFor(database), { signal: AbortSignal.abort(new Error("enough")) }),
    ).rejects.toThrow("enough");
    await session.close();
    expect(await traces(server, database)).toEqual([]);
  });
});

describe.each(allMajors)("installations in several new databases at once on PostgreSQL %i", (major) => {
  const server = useServer(major);

  it("all succeed, although they create the same roles", async () => {
    const databases = await Promise.all([1, 2, 3, 4].map(() => server.createDatabase()));
    const outcomes = await Promise.all(
      databases.map(async (database) => {
        const session = await server.connect(database);
        const report = await applyInstall(session, configFor(database));
        await session.close();
        return [report.outcome, report.unresolved];
      }),
    );
    expect(outcomes).toEqual(databases.map(() => ["installed", []]));
  });
});
