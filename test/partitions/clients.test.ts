import { describe, expect, it } from "vitest";
import { managePartitions } from "../../lib/jobs/manage-partitions.ts";
import { runJob } from "../../lib/jobs/runner.ts";
import type { PartitionsReport } from "../../lib/partitions/report.ts";
import type { Session } from "../../lib/ports/databases.ts";
import { configFor } from "../helpers/config.ts";
import { portsFor } from "../helpers/ports.ts";
import { useServer } from "../helpers/postgres.ts";
import { beginWorkload } from "./workload.ts";

const lockTimeoutSeconds = 2;
const firstWritten = 5_000;
const server = useServer(undefined, { settings: { autovacuum: "off" } });

async function run(database: string, declared: Record<string, unknown>) {
  const result = await runJob(managePartitions, {
    ports: portsFor(server.target(database)),
    config: configFor(database, {
      partitions: { tables: [{ table: "public.events", interval: 1000, ...declared }], lockTimeoutSeconds },
    }),
  });
  return { result, report: result.report as unknown as PartitionsReport };
}

/** Partitions of the history, and room for or a default partition under what clients write. */
async function create(session: Session, rest: "default" | "room"): Promise<void> {
  await session.query("create table public.kinds (note text primary key)");
  await session.query("insert into public.kinds values ('old'), ('new'), ('seen')");
  await session.query(
    `create table public.events (id int8, at int8, note text references public.kinds, primary key (id, at))
       partition by range (at)`,
  );
  for (let from = 0; from < firstWritten; from += 1000) {
    await session.query(
      `create table public.events_${from} partition of public.events for values from (${from}) to (${from + 1000})`,
    );
  }
  await session.query(
    rest === "default"
      ? "create table public.events_rest partition of public.events default"
      : `create table public.events_room partition of public.events for values from (${firstWritten}) to (100000)`,
  );
  await session.query(
    `insert into public.events select n, n, 'old' from generate_series(0, ${firstWritten - 1}) n`,
  );
}

describe("clients of a partitioned table", () => {
  const beside = async <T>(database: string, firstId: number, work: () => Promise<T>): Promise<T> => {
    const workload = beginWorkload(server, database, { key: String, firstId });
    const answer = await work().finally(() => workload.end());
    expect(workload.errors).toEqual([]);
    expect(workload.torn).toEqual([]);
    expect(workload.statements).toBeGreaterThan(20);
    expect(workload.longestMilliseconds).toBeLessThan(lockTimeoutSeconds * 1000);
    const session = await server.connect(database);
    const rows = await session.query<{ n: number }>(
      `select count(distinct id)::int8 as n from public.events where id >= ${firstId}`,
    );
    await session.close();
    expect(rows[0]?.n).toBe(workload.written.size);
    return answer;
  };

  it("go on while partitions are made under them and others, that rows refer to, are taken away", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await create(session, "room");
    await session.query(
      "create table public.parts (id int8, at int8, foreign key (id, at) references public.events)",
    );
    await session.query("insert into public.parts select id, at from public.events where id >= 1000");
    const { result, report } = await beside(database, firstWritten, () =>
      run(database, { keep: 3, expired: "drop" }),
    );
    expect(result.outcome).toBe("succeeded");
    expect(report.retired.entries).toMatchObject([{ partition: '"public"."events_0"', outcome: "dropped" }]);
    expect(report.blocked.entries).toMatchObject([{ what: 'retire "public"."events_1000"' }]);
    await session.close();
  });

  it("never wait for the lock timeout behind a run that waits for somebody's transaction", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await create(session, "default");
    const holder = await server.connect(database);
    await holder.query("begin");
    await holder.query("select count(*) from public.events");
    const blocked = await beside(database, firstWritten, () => run(database, { premake: 1 }));
    expect(blocked.result.outcome).toBe("failed");
    expect(blocked.report.created.total).toBe(0);
    expect(blocked.report.blocked.entries[0]?.why).toContain("was not to be had within 2 s, 3 times");
    expect(blocked.report.missing).toBeGreaterThan(0);
    await holder.query("rollback");
    await holder.close();
    const { result, report } = await beside(database, 4 * firstWritten, () => run(database, { premake: 1 }));
    expect(result.outcome).toBe("succeeded");
    expect(report.missing).toBe(0);
    expect(report.created.entries.some(({ movedRows }) => movedRows > 0)).toBe(true);
    await session.close();
  });
});
