import { describe, expect, it } from "vitest";
import { applyInstall } from "../../lib/install/apply.ts";
import { roleNames } from "../../lib/install/role-names.ts";
import { configFor } from "../helpers/config.ts";
import { allMajors, useServer } from "../helpers/postgres.ts";

describe.each(allMajors.filter((major) => major >= 16))(
  "a master outside of rds_superuser on PostgreSQL %i",
  (major) => {
    const server = useServer(major);

    it("is told what it may not grant, and does with pg_monitor alone", async () => {
      const database = await server.createDatabase();
      const config = configFor(database);
      const names = roleNames(config);
      const superuser = await server.connect(database);
      await superuser.query("create role plain login createrole createdb password 'p'");
      await superuser.query(`alter database ${database} owner to plain`);
      const session = await server.connect(database, { user: "plain", password: "p" });

      await expect(applyInstall(session, config)).rejects.toMatchObject({
        code: "insufficient-privilege",
        message: expect.stringContaining("Needed: a role that may grant pg_monitor."),
      });
      expect(await superuser.query("select 1 from pg_roles where rolname ~ 'pgkeep'")).toEqual([]);

      await superuser.query("grant pg_monitor to plain with admin option");
      const passwords = Object.fromEntries(
        [names.migrations, names.maintenance, names.drill].map((role) => [role, "p"]),
      );
      const report = await applyInstall(session, config, { passwords });
      expect(report).toMatchObject({ outcome: "installed", unresolved: [] });
      // Instead of pg_read_all_data and pg_maintain.
      expect(report.created).toContain(`pgkeep joined ${names.reader}`);
      expect(report.created).toContain(`pgkeep_maintenance joined ${names.owner}`);
      expect(report.blocked.map(({ reason }) => reason)).toContain("extension amcheck is not installed");
      expect(await applyInstall(session, config)).toMatchObject({ outcome: "unchanged" });
      await session.close();

      const migrations = await server.connect(database, { user: names.migrations, password: "p" });
      await migrations.query("create schema store");
      await migrations.query("create table store.things as select generate_series(1, 3) as a");
      await migrations.close();
      const drill = await server.connect(database, { user: names.drill, password: "p" });
      expect(
        await drill.query("select pgkeep.table_rows(oid) as n from pg_class where relname = 'things'"),
      ).toEqual([{ n: 3 }]);
      await drill.close();
      const maintenance = await server.connect(database, { user: names.maintenance, password: "p" });
      const notices: string[] = [];
      await maintenance.query("vacuum store.things", [], {
        onNotice: ({ message }) => notices.push(message),
      });
      expect(notices).toEqual([]);
      await maintenance.close();
      await superuser.close();
    });
  },
);
