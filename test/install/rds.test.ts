import { describe, expect, it } from "vitest";
import { applyInstall } from "../../lib/install/apply.ts";
import { planInstall } from "../../lib/install/plan.ts";
import { configFor } from "../helpers/config.ts";
import { allMajors, useServer } from "../helpers/postgres.ts";
import { installed } from "./installed.ts";

describe.each(allMajors)("what is special about RDS, on PostgreSQL %i", (major) => {
  const server = useServer(major);

  const asSuperuser = async (database: string, sql: string) => {
    const session = await server.connect(database);
    try {
      return await session.query(sql);
    } finally {
      await session.close();
    }
  };

  it("tries the extensions that RDS allows, and goes on when the server refuses them after all", async () => {
    const shop = await installed(server);
    await asSuperuser(shop.database, "drop extension pgstattuple");
    await asSuperuser(
      shop.database,
      `alter database ${shop.database} set "rds.extensions" = 'amcheck, pgstattuple'`,
    );
    await asSuperuser(shop.database, `alter role "${shop.names.app}" createdb`);
    const report = await shop.apply();
    expect(report).toMatchObject({
      outcome: "repaired",
      repaired: [`role ${shop.names.app} had CREATEDB: removed`],
      unresolved: [],
      blocked: expect.arrayContaining([
        {
          reason: "extension pgstattuple is not installed",
          sql: 'CREATE EXTENSION IF NOT EXISTS "pgstattuple" WITH SCHEMA pgkeep',
          needs: expect.stringMatching(/somebody else: .*permission denied to create extension/),
        },
      ]),
    });
  });

  it("warns of logins that connect only because everybody may", async () => {
    const database = await server.createDatabase();
    const master = await server.createMaster(database);
    await asSuperuser(
      database,
      `create role lonely login; create role guest login; grant connect on database ${database} to guest`,
    );
    const session = await server.connect(database, master);
    const plan = await planInstall(session, configFor(database));
    await session.close();
    expect(plan.warnings.join()).toMatch(/because PUBLIC may, which ends: .*\blonely\b/);
    expect(plan.warnings.join()).not.toMatch(/\bguest\b/);
  });

  if (major >= 16)
    it("works when new roles are granted to their creator by themselves", async () => {
      const database = await server.createDatabase();
      const master = await server.createMaster(database);
      await asSuperuser(database, `alter role ${master.user} set createrole_self_grant = 'set, inherit'`);
      const session = await server.connect(database, master);
      expect(await applyInstall(session, configFor(database))).toMatchObject({ outcome: "installed" });
      expect(await applyInstall(session, configFor(database))).toMatchObject({ outcome: "unchanged" });
      await session.close();
    });

  // Last: from here on the server has the role that makes roles log in with IAM.
  it("lets logins without password log in with IAM, and leaves those with one", async () => {
    const shop = await installed(server);
    await asSuperuser(
      shop.database,
      "create role rds_iam nologin; grant rds_iam to rds_superuser with admin option",
    );
    const members = async () =>
      (
        await asSuperuser(
          shop.database,
          "select m.rolname from pg_auth_members a join pg_roles m on m.oid = a.member where a.roleid = 'rds_iam'::regrole and m.rolname <> 'rds_superuser' order by 1",
        )
      ).map((row) => (row as { rolname: string }).rolname);
    // All logins of that database got passwords.
    expect((await shop.apply()).outcome).toBe("unchanged");
    expect(await members()).toEqual([]);

    const database = await server.createDatabase();
    const master = await server.createMaster(database);
    const other = await server.connect(database, master);
    await applyInstall(other, configFor(database));
    expect(await members()).toEqual([`${database}_app`, `${database}_migrations`, `${database}_reporting`]);

    await applyInstall(other, configFor(database), { passwords: { [`${database}_app`]: "p" } });
    expect(await members()).toEqual([`${database}_migrations`, `${database}_reporting`]);
    expect(await applyInstall(other, configFor(database))).toMatchObject({ outcome: "unchanged" });
    await other.close();
  });
});
