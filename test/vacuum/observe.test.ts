import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import type { Session } from "../../lib/ports/databases.ts";
import { Observer } from "../../lib/vacuum/observe.ts";
import { allMajors, useServer } from "../helpers/postgres.ts";

const lockTimeoutSeconds = 2;
/** Progress is counted in other columns from 17 on. */
const majors = allMajors.filter((_, n) => n === 0 || n === allMajors.length - 1);

describe.each(majors)("a VACUUM that takes long, on PostgreSQL %i", (major) => {
  const server = useServer(major, { settings: { autovacuum: "off" } });

  /** A session whose VACUUM of `public.slow` takes two seconds and more, and one that observes it. */
  const begin = async (progressEverySeconds: number) => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await session.query("create table public.slow (id int primary key, note text) with (fillfactor = 50)");
    await session.query(
      "insert into public.slow select n, repeat('x', 200) from generate_series(1, 20000) n",
    );
    await session.query("vacuum public.slow");
    await session.query("update public.slow set note = repeat('y', 200) where id % 5 = 0");
    // A page costs most when it was clean.
    await session.query("checkpoint");
    await session.query("set vacuum_cost_delay = 20");
    await session.query("set vacuum_cost_limit = 200");
    const rows = await session.query<{ pid: number }>("select pg_backend_pid() as pid");
    const lines: string[] = [];
    const observer = new Observer(
      () => server.connect(database, undefined, { statementTimeoutMilliseconds: 2_000 }),
      {
        lockTimeoutSeconds,
        progressEverySeconds,
        say: (line) => lines.push(line),
      },
    );
    const vacuum = (session: Session, givesWay: boolean) =>
      observer.during(rows[0]?.pid ?? 0, "VACUUM public.slow", givesWay, session.query("vacuum public.slow"));
    return { database, session, observer, lines, vacuum };
  };

  it("says how far it is, and lets reads and writes go on", async () => {
    const { database, session, observer, lines, vacuum } = await begin(0.3);
    const client = await server.connect(database);
    let longest = 0;
    const over = new AbortController();
    const clients = (async () => {
      for (let n = 1; !over.signal.aborted; n += 1) {
        const started = performance.now();
        await client.query("update public.slow set note = 'z' where id = $1", [n]);
        longest = Math.max(longest, performance.now() - started);
        await delay(5);
      }
    })();
    const { result, yieldedTo } = await vacuum(session, true);
    over.abort();
    await clients;
    await client.close();
    expect(result.status).toBe("fulfilled");
    expect(yieldedTo).toBeNull();
    expect(longest).toBeLessThan(lockTimeoutSeconds * 1000);
    expect(lines.length).toBeGreaterThan(1);
    for (const line of lines) {
      // The TOAST table, which is empty, has no share.
      expect(line).toMatch(
        /^VACUUM public\.slow: (initializing|(scanning|vacuuming) heap(, \d+ % of [\d.]+ MiB)?|(vacuuming|cleaning up) indexes|truncating heap|performing final cleanup)(,|$)/,
      );
    }
    const shares = lines.flatMap((line) => /scanning heap, (\d+) %/.exec(line)?.[1] ?? []).map(Number);
    expect(shares).toEqual([...shares].sort((a, b) => a - b));
    expect(shares.length).toBeGreaterThan(0);
    await observer.close();
    await session.close();
  });

  it("gives way to whoever waits for its lock, before the lock timeout", async () => {
    const { database, session, observer, vacuum } = await begin(60);
    const changer = await server.connect(database, undefined, { lockTimeoutMilliseconds: 0 });
    const reader = await server.connect(database, undefined, { lockTimeoutMilliseconds: 0 });
    const running = vacuum(session, true);
    await delay(200);
    const timed = async (work: Promise<unknown>) => {
      const started = performance.now();
      await work;
      return performance.now() - started;
    };
    const waits = await Promise.all([
      timed(changer.query("alter table public.slow add column more int")),
      // Behind the ALTER TABLE.
      delay(20).then(() => timed(reader.query("select count(*) from public.slow"))),
    ]);
    const { result, yieldedTo } = await running;
    expect(result.status).toBe("rejected");
    expect(yieldedTo).toContain("which waited for AccessExclusiveLock");
    expect(Math.max(...waits)).toBeGreaterThan(200);
    expect(Math.max(...waits)).toBeLessThan(lockTimeoutSeconds * 1000);
    await Promise.all([changer.close(), reader.close(), observer.close()]);
    await session.close();
  });
});
