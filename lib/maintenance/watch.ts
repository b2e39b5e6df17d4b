import type { Session } from "../ports/databases.ts";

interface Waiter {
  pid: number;
  user: string | null;
  application: string | null;
  mode: string;
}

/**
 * Sees from a second session to it that nobody waits long for a rebuild. A rebuild lets reads and writes go on, but
 * holds SHARE UPDATE EXCLUSIVE for as long as it takes: an ALTER TABLE waits for it, and everything else then waits
 * behind that. So the rebuild is cancelled before anyone has waited for `limitMilliseconds`; other maintenance
 * (VACUUM, ANALYZE, CREATE INDEX CONCURRENTLY), behind which reads and writes do not queue, waits.
 */
export class Watcher {
  private readonly session: Session;
  private readonly limitMilliseconds: number;

  constructor(session: Session, limitMilliseconds: number) {
    this.session = session;
    this.limitMilliseconds = limitMilliseconds;
  }

  /** Runs `work`, which keeps the backend `pid` busy. `yieldedTo` says for whom it was cancelled. */
  async during<T>(
    pid: number,
    work: Promise<T>,
  ): Promise<{ result: PromiseSettledResult<T>; yieldedTo: string | null }> {
    const over = new AbortController();
    const watching = this.watch(pid, over.signal);
    const [result] = await Promise.allSettled([work]);
    over.abort();
    return { result, yieldedTo: await watching };
  }

  private async watch(pid: number, over: AbortSignal): Promise<string | null> {
    // The cancelled rebuild lets go of the table only after the next look.
    const interval = Math.min(250, this.limitMilliseconds / 4);
    while (await pause(interval, over)) {
      const waiter = await longestWaiter(this.session, pid, this.limitMilliseconds / 2);
      if (waiter === undefined) continue;
      if (over.aborted) return null;
      await this.session.query("select pg_cancel_backend($1)", [pid]);
      return waiter;
    }
    return null;
  }
}

/**
 * Who has waited longest for a lock that the backend `pid` holds, and for more than so many milliseconds, in words.
 * A failure to look is nobody: it ends no work, and whoever waits has his own lock timeout.
 */
export async function longestWaiter(
  session: Session,
  pid: number,
  milliseconds: number,
): Promise<string | undefined> {
  try {
    const [waiter] = await session.query<Waiter>(waitersQuery, [pid, milliseconds]);
    if (waiter === undefined) return undefined;
    const user = waiter.user === null ? "" : ` of ${waiter.user}`;
    const application = waiter.application === null ? "" : ` (${waiter.application})`;
    return `process ${waiter.pid}${user}${application}, which waited for ${waiter.mode}`;
  } catch {
    return undefined;
  }
}

/** `pg_blocking_pids` stops the lock manager for a moment, so it is asked only about those that wait already. */
const waitersQuery = `
with waiting as materialized (
  select l.pid, l.mode from pg_locks l
   where l.locktype = 'relation' and not l.granted and l.pid <> $1
     and l.database = (select oid from pg_database where datname = current_database())
     and l.mode <> 'ShareUpdateExclusiveLock'
     and l.waitstart < clock_timestamp() - make_interval(secs => $2::float8 / 1000)
   order by l.waitstart limit 20
)
select w.pid, a.usename::text as "user", nullif(a.application_name, '') as application, w.mode
  from waiting w left join pg_stat_activity a on a.pid = w.pid
 where $1 = any(pg_blocking_pids(w.pid)) limit 1`;

/** Resolves to false when `over` came first. */
export function pause(milliseconds: number, over: AbortSignal): Promise<boolean> {
  if (over.aborted) return Promise.resolve(false);
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      resolve(false);
    };
    const timer = setTimeout(() => {
      over.removeEventListener("abort", end);
      resolve(true);
    }, milliseconds);
    over.addEventListener("abort", end, { once: true });
  });
}
