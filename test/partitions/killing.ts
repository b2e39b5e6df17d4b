import { expect } from "vitest";
import { managePartitions } from "../../lib/jobs/manage-partitions.ts";
import type { PartitionsReport } from "../../lib/partitions/report.ts";
import type { Session } from "../../lib/ports/databases.ts";
import type { Random } from "../../lib/sandbox/application/random.ts";
import { killJobAfter, runAfterKill } from "../helpers/kill-job.ts";
import type { TestServer } from "../helpers/postgres.ts";
import { beginWorkload } from "./workload.ts";

const step = 1_000;
/** Ids below are history, of which partitions are retired; clients never write so many that theirs are. */
const firstWritten = 10_000;
const rowsOfDefault = 6_000;
const keep = 4;
const lockTimeoutSeconds = 2;

/**
 * Kills the process that runs the job at so many random moments while clients write: partitions are made with rows of
 * a default partition, or without one others are detached concurrently and dropped. After each kill the next run
 * completes, every row that is to be kept is there once, nothing is left of what was begun, and no statement of the
 * clients waited longer than the lock timeout.
 * @returns how many kills came in the middle, and the longest that a statement of the clients took
 */
export async function killAtRandomMoments(
  server: TestServer,
  random: Random,
  trials: number,
): Promise<{ interrupted: number; longestMilliseconds: number; statements: number }> {
  const database = await server.createDatabase();
  const session = await server.connect(database);
  let interrupted = 0;
  const longest = { without: 0, with: 0 };
  let longestMilliseconds = 0;
  let statements = 0;
  // The first two only show how long a whole run takes.
  for (let trial = -2; trial < trials || (interrupted === 0 && trial < 5 * trials); trial += 1) {
    const hasDefault = trial % 2 === 0;
    const kind = hasDefault ? "with" : "without";
    await prepare(session, hasDefault);
    const workload = beginWorkload(server, database, {
      key: (id) => String(id % 2 === 0 ? id : id - 1),
      firstId: firstWritten,
      clients: 2,
    });
    const sections = {
      partitions: {
        tables: [{ table: "public.events", interval: step, premake: 3, keep, expired: "drop" }],
        lockTimeoutSeconds,
      },
    };
    const moment = trial < 0 ? Number.POSITIVE_INFINITY : random.integer(0, longest[kind]);
    const where = `trial ${trial} ${kind} default partition, killed after ${moment} ms`;
    const { isWhole, milliseconds } = await killJobAfter(
      server,
      database,
      managePartitions,
      sections,
      moment,
    );
    if (trial < 0) longest[kind] = milliseconds;
    else if (!isWhole) interrupted += 1;
    const next = await runAfterKill(server, database, managePartitions, sections, where);
    const report = next.report as unknown as PartitionsReport;
    await workload.end();
    expect(workload.errors, where).toEqual([]);
    expect(workload.torn, where).toEqual([]);
    expect(workload.longestMilliseconds, where).toBeLessThan(lockTimeoutSeconds * 1000);
    longestMilliseconds = Math.max(longestMilliseconds, workload.longestMilliseconds);
    statements += workload.statements;
    expect(report.missing, where).toBe(0);
    const wrong = report.findings.entries.filter(({ key }) => !/^(default|irregular)/.test(key));
    expect(wrong, where).toEqual([]);
    await expectEveryRow(session, workload.written.size, where);
    const left = await session.query<{ name: string }>(
      `select c.relname::text as name from pg_class c left join pg_description d on d.objoid = c.oid and d.objsubid = 0
        where c.relname like 'events%' and c.relkind = 'r'
          and (not c.relispartition or d.description like 'pgkeep%'
               or exists (select from pg_inherits i where i.inhrelid = c.oid and i.inhdetachpending))`,
    );
    expect(left, where).toEqual([]);
    await session.query("drop table public.events");
  }
  await session.close();
  return { interrupted, longestMilliseconds, statements };
}

/**
 * What clients wrote is there once. Of history, each step is whole or was retired as a whole: what retention keeps now
 * is there; older rows of the default partition may be, of which the job only tells.
 */
async function expectEveryRow(session: Session, written: number, where: string): Promise<void> {
  const steps = await session.query<{ from: number; place: string; n: number; distinct: number }>(
    `select at / ${step} * ${step} as from, string_agg(distinct tableoid::regclass::text, ', ') as place,
            count(*)::int8 as n, count(distinct id)::int8 as distinct
       from public.events where at < ${firstWritten} group by at / ${step} order by at / ${step}`,
  );
  const [after] = await session.query<{ n: number; distinct: number; greatest: number }>(
    `select count(*)::int8 as n, count(distinct id)::int8 as distinct, coalesce(max(at), ${firstWritten - 1})::int8 as greatest
       from public.events where at >= ${firstWritten}`,
  );
  expect(after, where).toMatchObject({ n: written, distinct: written });
  const found = [where, ...steps.map(({ from, place, n }) => `${from}: ${n} in ${place}`)].join("\n");
  for (const { n, distinct } of steps) expect({ n, distinct }, found).toEqual({ n: step, distinct: step });
  const keptFrom = (Math.floor((after?.greatest ?? 0) / step) - keep) * step;
  for (let from = Math.max(0, keptFrom); from < firstWritten; from += step) {
    expect(
      steps.map((one) => one.from),
      found,
    ).toContain(from);
  }
}

/** Partitions with rows; with a default partition, its rows reach as far as the first id that clients write. */
async function prepare(session: Session, hasDefault: boolean): Promise<void> {
  await session.query(
    "create table public.events (id int8, at int8 not null, note text) partition by range (at)",
  );
  const whole = hasDefault ? firstWritten - rowsOfDefault : firstWritten;
  for (let from = 0; from < whole; from += step) {
    await session.query(
      `create table public.events_old${from} partition of public.events for values from (${from}) to (${from + step})`,
    );
  }
  if (hasDefault) await session.query("create table public.events_rest partition of public.events default");
  else {
    // Room for what the clients write: nothing else would take it.
    await session.query(
      `create table public.events_wide partition of public.events for values from (${firstWritten}) to (1000000)`,
    );
  }
  await session.query(
    `insert into public.events select n, n, 'old' from generate_series(0, ${firstWritten - 1}) n`,
  );
}
