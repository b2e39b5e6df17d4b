import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { PgkeepError } from "../../errors.ts";
import type { Session } from "../../ports/databases.ts";
import type { SandboxState } from "../state.ts";
import { withSuperuser } from "./held-sessions.ts";

/** As many as a forecast takes at the least (lib/history/trend.ts). */
const days = 6;

const today = "(clock_timestamp() at time zone 'UTC')::date";

/** What collect-history would have noted so many days ago. */
export interface PastDay {
  databaseBytes: number;
  nextTransactionId: number;
}

/** What the days were before, as JSON of `pgkeep.history_day`. */
function recordOf(state: SandboxState, fault: string): string {
  return join(state.directory, "faults", `${fault}.json`);
}

/**
 * Writes into pgkeep's history what it would have seen on the last days: a forecast is drawn from days that a
 * sandbox does not have. Today's sample stays real.
 * @throws PgkeepError `refused` when pgkeep is not installed
 */
export async function rewritePastDays(
  state: SandboxState,
  fault: string,
  past: (daysAgo: number, today: PastDay) => Partial<PastDay>,
): Promise<void> {
  await withSuperuser(state, async (session) => {
    const [row] = await session.query<PastDay & { installed: boolean }>(
      `select to_regclass('pgkeep.history_day') is not null as installed,
              pg_database_size(current_database()) as "databaseBytes",
              pg_snapshot_xmax(pg_current_snapshot())::text::int8 as "nextTransactionId"`,
    );
    if (row === undefined || !row.installed) {
      throw new PgkeepError(
        "refused",
        "the schema pgkeep, whose history this fault rewrites, is not installed",
        {
          remedy: "install it with `pgkeep install`",
        },
      );
    }
    const record = recordOf(state, fault);
    await mkdir(dirname(record), { recursive: true, mode: 0o700 });
    await writeFile(record, await present(session), { mode: 0o600 });
    for (let daysAgo = 1; daysAgo <= days; daysAgo++) {
      const day = { ...row, ...past(daysAgo, row) };
      await session.query(writeDay, [
        daysAgo,
        Math.round(day.databaseBytes),
        Math.round(day.nextTransactionId),
      ]);
    }
  });
}

/**
 * Gives a new sandbox a past in which nothing changed, so that forecasts have something to say before a fault and
 * after its repair: as many days as they take at the least, for the server and for each table that today's run of
 * collect-history has noted.
 * @throws PgkeepError `refused` when pgkeep is not installed
 */
export async function giveCalmPast(state: SandboxState): Promise<void> {
  await rewritePastDays(state, "calm-past", () => ({}));
  await withSuperuser(state, (session) =>
    session.query(
      `update pgkeep.history_table set first_day = least(first_day, ${today} - $1::int), since_day = least(since_day, ${today} - $1::int)
        where gone_day is null`,
      [days],
    ),
  );
}

/** Resolves to false when nothing was rewritten. */
export async function restorePastDays(state: SandboxState, fault: string): Promise<boolean> {
  const record = recordOf(state, fault);
  const saved = await readFile(record, "utf8").catch(() => undefined);
  if (saved === undefined) return false;
  await withSuperuser(state, (session) =>
    session.transaction(async () => {
      await session.query(`delete from pgkeep.history_day where ${inThePast}`, [days]);
      await session.query(
        `insert into pgkeep.history_day
         select (jsonb_populate_record(null::pgkeep.history_day, one)).* from jsonb_array_elements($1::jsonb) as one
         on conflict (day) do nothing`,
        [saved],
      );
    }),
  );
  await rm(record, { force: true });
  return true;
}

const inThePast = `day between ${today} - $1::int and ${today} - 1`;

async function present(session: Session): Promise<string> {
  const [row] = await session.query<{ days: string }>(
    `select coalesce(jsonb_agg(to_jsonb(d)), '[]')::text as days from pgkeep.history_day d where ${inThePast}`,
    [days],
  );
  return row?.days ?? "[]";
}

const writeDay = `
insert into pgkeep.history_day as d (day, taken_at, database_oid, server_started_at, database_bytes, size_basis,
       next_transaction_id, transaction_id_age, next_multixact_id, multixact_age)
select ${today} - $1::int, clock_timestamp() - make_interval(days => $1::int), b.oid, pg_postmaster_start_time(), $2::int8,
       'files', $3::int8, age(b.datfrozenxid), (mxid_age('1'::xid)::int8 + 1) & 4294967295, mxid_age(b.datminmxid)
  from pg_database b where b.datname = current_database()
on conflict (day) do update set database_bytes = excluded.database_bytes, size_basis = excluded.size_basis,
  next_transaction_id = excluded.next_transaction_id, transaction_id_age = excluded.transaction_id_age`;
