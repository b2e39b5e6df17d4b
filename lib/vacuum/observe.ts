import { longestWaiter, pause } from "../maintenance/watch.ts";
import type { Session } from "../ports/databases.ts";
import { majorOf } from "../postgres/versions.ts";
import { bytesText } from "../words.ts";

/** How far a statement is, by the server's progress views. */
export interface Progress {
  phase: string;
  /** Pages of the phase's own work; null where the phase does not tell. */
  donePages: number | null;
  totalPages: number | null;
  /** Rounds over all indexes so far; more than one: maintenance_work_mem was too small for the dead rows. */
  indexRounds: number;
  indexesDone: number | null;
  indexesTotal: number | null;
  blockBytes: number;
}

/**
 * Looks from a second session at a statement that takes long: says how far it is, and cancels it before anybody has
 * waited for the run's lock timeout because of it. VACUUM lets reads and writes go on, but an ALTER TABLE waits for it
 * and everything else then waits behind that. Autovacuum gives way likewise; a VACUUM by hand never would.
 * The session is opened when the first statement takes long, so that small tables cost nothing.
 */
export class Observer {
  private readonly open: () => Promise<Session>;
  private readonly limitMilliseconds: number;
  private readonly say: (message: string) => void;
  private readonly everySeconds: number;
  private session: Session | undefined;

  constructor(
    open: () => Promise<Session>,
    options: { lockTimeoutSeconds: number; progressEverySeconds: number; say(message: string): void },
  ) {
    this.open = open;
    this.limitMilliseconds = options.lockTimeoutSeconds * 1000;
    this.everySeconds = options.progressEverySeconds;
    this.say = options.say;
  }

  /** Resolves to what `work` does, and for whom it was cancelled. `name`: what the lines begin with. */
  async during<T>(
    pid: number,
    name: string,
    givesWay: boolean,
    work: Promise<T>,
  ): Promise<{ result: PromiseSettledResult<T>; yieldedTo: string | null }> {
    const over = new AbortController();
    const watching = this.watch(pid, name, givesWay, over.signal);
    const [result] = await Promise.allSettled([work]);
    over.abort();
    return { result, yieldedTo: await watching };
  }

  async close(): Promise<void> {
    await this.session?.close();
    this.session = undefined;
  }

  /** A failure to look ends the watch and not the work: a connection more may not be to be had. */
  private async watch(
    pid: number,
    name: string,
    givesWay: boolean,
    over: AbortSignal,
  ): Promise<string | null> {
    const interval = Math.min(250, this.limitMilliseconds / 8);
    if (!(await pause(2 * interval, over))) return null;
    try {
      this.session ??= await this.open();
      let nextLine = performance.now() + this.everySeconds * 1000;
      do {
        // The cancelled statement lets go of the table only after the next look.
        const waiter = givesWay
          ? await longestWaiter(this.session, pid, this.limitMilliseconds / 2)
          : undefined;
        if (over.aborted) return null;
        if (waiter !== undefined) {
          await this.session.query("select pg_cancel_backend($1)", [pid]);
          return waiter;
        }
        if (performance.now() >= nextLine) {
          nextLine += this.everySeconds * 1000;
          const progress = await readProgress(this.session, pid);
          if (progress !== undefined && !over.aborted) this.say(`${name}: ${progressText(progress)}`);
        }
      } while (await pause(interval, over));
    } catch {
      await this.close().catch(() => {});
    }
    return null;
  }
}

/**
 * How far the VACUUM, VACUUM FULL or ANALYZE of that backend is; undefined when it is at none. 17 counts indexes
 * and dead rows in other columns than 14 to 16.
 */
export async function readProgress(session: Session, pid: number): Promise<Progress | undefined> {
  const indexes =
    majorOf(session.serverVersionNumber) >= 17
      ? `indexes_processed as "indexesDone", nullif(indexes_total, 0) as "indexesTotal"`
      : `null::int8 as "indexesDone", null::int8 as "indexesTotal"`;
  const rows = await session.query<Progress>(
    `select p.*, current_setting('block_size')::int8 as "blockBytes" from (
       select phase,
              case phase when 'scanning heap' then heap_blks_scanned when 'vacuuming heap' then heap_blks_vacuumed end
                as "donePages",
              nullif(heap_blks_total, 0) as "totalPages", index_vacuum_count as "indexRounds", ${indexes}
         from pg_stat_progress_vacuum where pid = $1
       union all
       select phase, case when phase = 'seq scanning heap' then heap_blks_scanned end,
              nullif(heap_blks_total, 0), 0, null, null
         from pg_stat_progress_cluster where pid = $1
       union all
       select 'analyzing: ' || phase,
              case when phase like 'acquiring%' then sample_blks_scanned end, nullif(sample_blks_total, 0), 0, null, null
         from pg_stat_progress_analyze where pid = $1) p
      limit 1`,
    [pid],
  );
  return rows[0];
}

/** `scanning heap, 43 % of 7.2 GiB`; `vacuuming indexes, 1 of 3, round 2`. */
export function progressText(progress: Progress): string {
  const { phase, donePages, totalPages, indexRounds, indexesDone, indexesTotal, blockBytes } = progress;
  const share =
    donePages === null || totalPages === null
      ? ""
      : `, ${Math.floor((100 * Math.min(donePages, totalPages)) / totalPages)} % of ${bytesText(totalPages * blockBytes)}`;
  const indexes = indexesTotal === null ? "" : `, ${indexesDone ?? 0} of ${indexesTotal}`;
  const round = indexRounds > 0 && phase.includes("index") ? `, round ${indexRounds + 1}` : "";
  return `${phase}${share}${indexes}${round}`;
}
