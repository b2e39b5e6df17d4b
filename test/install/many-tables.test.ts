import { describe, expect, it } from "vitest";
import { applyInstall } from "../../lib/install/apply.ts";
import { planInstall } from "../../lib/install/plan.ts";
import { configFor } from "../helpers/config.ts";
import { defaultMajor, useServer } from "../helpers/postgres.ts";

describe("a database with more tables than a transaction can lock", () => {
  const server = useServer(defaultMajor, {
    settings: { max_locks_per_transaction: "10", max_connections: "20" },
  });

  it("is installed all the same, each table given to the owner group, and says which one was busy", async () => {
    const database = await server.createDatabase();
    const master = await server.createMaster(database);
    const session = await server.connect(database, master, { statementTimeoutMilliseconds: 120_000 });
    await session.query("create schema big");
    for (let batch = 0; batch < 30; batch += 1) {
      await session.query(
        `do $$ begin for i in 1..20 loop
           execute format('create table big.t_${batch}_%s (id serial primary key, v text)', i);
         end loop; end $$`,
      );
    }
    const holder = await server.connect(database, master);
    await holder.query("begin");
    await holder.query("select * from big.t_7_7");
    const first = await applyInstall(session, configFor(database));
    await holder.query("rollback");
    await holder.close();
    expect(first.outcome).toBe("installed");
    expect(first.unresolved).toEqual([
      expect.objectContaining({ reason: expect.stringContaining("canceling statement due to lock timeout") }),
    ]);

    const second = await applyInstall(session, configFor(database));
    expect(second).toMatchObject({ outcome: "repaired", unresolved: [] });
    const plan = await planInstall(session, configFor(database));
    expect(plan.changes).toEqual([]);
    const owners = await session.query(
      "select pg_get_userbyid(relowner) as owner, count(*) as n from pg_class where relnamespace = 'big'::regnamespace and relkind = 'r' group by 1",
    );
    expect(owners).toEqual([{ owner: `${database}_owner`, n: 600 }]);
    await session.close();
  });
});
