import { type LiveServer, type Measure, type Measurement, ofEachServer, ofServer } from "./measure.ts";

interface IoSample {
  /** Processes that wait for the disk. */
  waiting: number;
  /** Null: not counted. */
  reads: number | null;
  readMilliseconds: number | null;
  writes: number | null;
  writeMilliseconds: number | null;
  /** Changes when the counters were reset. */
  resetAt: string;
}

/**
 * - `ReadLatency`, `WriteLatency`. AWS: mean time of a disk operation in the period, by the volume. Ours: time over
 *   number of the server's own reads and writes since the previous sample (`pg_stat_io`, without WAL),
 *   which end in the kernel's cache as often as on a disk; 0 without any. PostgreSQL 14 and 15 count reads only
 *   (`pg_stat_database`). Absent without a previous sample, when the counters were reset since, without
 *   `track_io_timing`, and while the server does not answer.
 * - `DiskQueueDepth`. AWS: operations that wait for the disk. Ours: processes of the server that wait for one
 *   (`wait_event_type` IO), one look for each datum; each has one operation at most. Absent while the server does not
 *   answer.
 */
export const io: Measure = {
  metrics: ["ReadLatency", "WriteLatency", "DiskQueueDepth"],
  start() {
    const samples = new Map<string, IoSample>();
    return (context) =>
      ofEachServer(context, async (server) => {
        const query = context.state.postgresMajor >= 16 ? ioQuery : databaseQuery;
        const [now] = (await context.ask<IoSample>(server, query)) ?? [];
        if (now === undefined) return [];
        const before = samples.get(server.name);
        samples.set(server.name, now);
        return [ofServer("DiskQueueDepth", server, now.waiting), ...latencies(server, before, now)];
      });
  },
};

function latencies(server: LiveServer, before: IoSample | undefined, now: IoSample): Measurement[] {
  // A server that has started anew may have counters that begin anew.
  if (before === undefined || before.resetAt !== now.resetAt) return [];
  const read = latency(before.reads, before.readMilliseconds, now.reads, now.readMilliseconds);
  const write = latency(before.writes, before.writeMilliseconds, now.writes, now.writeMilliseconds);
  return [
    ...(read === undefined ? [] : [ofServer("ReadLatency", server, read)]),
    ...(write === undefined ? [] : [ofServer("WriteLatency", server, write)]),
  ];
}

/** Seconds for each operation in between; undefined when it was not counted or the counters went back. */
function latency(
  ...[operationsBefore, millisecondsBefore, operations, milliseconds]: [
    number | null,
    number | null,
    number | null,
    number | null,
  ]
): number | undefined {
  if (operationsBefore === null || millisecondsBefore === null) return undefined;
  if (operations === null || milliseconds === null) return undefined;
  const count = operations - operationsBefore;
  const time = milliseconds - millisecondsBefore;
  if (count < 0 || time < 0) return undefined;
  return count === 0 ? 0 : time / 1000 / count;
}

// From 18 on, a session that waits for what an I/O worker does for it would count twice.
const waiting = `
  (select count(*) from pg_stat_get_activity(null)
    where wait_event_type = 'IO' and wait_event not like 'Aio%' and pid <> pg_backend_pid())::int as waiting`;

const ioQuery = `
  select ${waiting},
         case when current_setting('track_io_timing')::boolean then sum(reads) end::float8 as reads,
         sum(read_time)::float8 as "readMilliseconds",
         case when current_setting('track_io_timing')::boolean then sum(writes) end::float8 as writes,
         sum(write_time)::float8 as "writeMilliseconds",
         max(stats_reset)::text || pg_postmaster_start_time()::text as "resetAt"
    from pg_stat_io where object <> 'wal'`;

const databaseQuery = `
  select ${waiting},
         case when current_setting('track_io_timing')::boolean then sum(blks_read) end::float8 as reads,
         sum(blk_read_time)::float8 as "readMilliseconds",
         null::float8 as writes, null::float8 as "writeMilliseconds",
         coalesce(max(stats_reset)::text, '') || pg_postmaster_start_time()::text as "resetAt"
    from pg_stat_database`;
