import { type FileHandle, open, stat } from "node:fs/promises";
import { type LogMetricName, logMetrics } from "../../alarms/log-metrics.ts";
import { logFile } from "../server.ts";
import type { Measure } from "./measure.ts";

/** How far a log has been read. */
interface Position {
  inode: number;
  offset: number;
}

/** Most that is read of one log at a time; what is left is read the next time. */
const longestRead = 8 * 1024 * 1024;
const chunkBytes = 256 * 1024;

const names = Object.keys(logMetrics) as LogMetricName[];

/**
 * - `FailedLogins`. AWS: lines of the exported logs of every server that match the filter of `log-metrics.ts`, 0 when
 *   none did. Ours: the same lines of the servers' log files that were written since the previous sample, up to 8 MiB
 *   of each log for one datum; a log that was turned over (renamed to `….1`, or emptied) is read to its end and from
 *   its new begin. The first sample only remembers how long the logs are.
 *
 * Never absent: a log can be read when its server is down.
 */
export const log: Measure = {
  metrics: names,
  start() {
    const positions = new Map<string, Position>();
    let first = true;
    return async ({ state }) => {
      const files = [state.primary, ...state.replicas].map(({ dataDirectory }) => logFile(dataDirectory));
      const counts = await Promise.all(files.map((file) => countNew(file, positions, first)));
      first = false;
      return names.map((metric) => ({
        id: { from: "log", metric, dimensions: {} },
        value: counts.reduce((sum, count) => sum + (count.get(metric) ?? 0), 0),
      }));
    };
  },
};

type Counts = Map<LogMetricName, number>;

async function countNew(file: string, positions: Map<string, Position>, first: boolean): Promise<Counts> {
  const counts: Counts = new Map();
  const now = await identity(file);
  if (now === undefined) {
    // What comes under this name is another file, though it may get the same inode.
    positions.delete(file);
    return counts;
  }
  const known = positions.get(file);
  if (known === undefined) {
    positions.set(file, { inode: now.inode, offset: first ? now.size : 0 });
    if (first) return counts;
  }
  let { inode, offset } = positions.get(file) as Position;
  if (inode !== now.inode) {
    const older = `${file}.1`;
    if ((await identity(older))?.inode === inode) await count(older, offset, counts);
    ({ inode, offset } = { inode: now.inode, offset: 0 });
  } else if (now.size < offset) {
    offset = 0;
  }
  positions.set(file, { inode, offset: await count(file, offset, counts) });
  return counts;
}

async function identity(file: string): Promise<{ inode: number; size: number } | undefined> {
  const found = await stat(file).catch(() => undefined);
  return found === undefined ? undefined : { inode: found.ino, size: found.size };
}

/** Counts whole lines from there on and resolves to where the next one begins. */
async function count(file: string, from: number, counts: Counts): Promise<number> {
  let handle: FileHandle;
  try {
    handle = await open(file, "r");
  } catch {
    return from;
  }
  try {
    const buffer = Buffer.alloc(chunkBytes);
    let offset = from;
    while (offset - from < longestRead) {
      const { bytesRead } = await handle.read(buffer, 0, chunkBytes, offset);
      const chunk = buffer.subarray(0, bytesRead);
      // A line longer than a chunk is cut.
      const end =
        bytesRead < chunkBytes ? chunk.lastIndexOf(0x0a) + 1 : chunk.lastIndexOf(0x0a) + 1 || bytesRead;
      countLines(chunk.subarray(0, end).toString("latin1"), counts);
      offset += end;
      if (bytesRead < chunkBytes) break;
    }
    return offset;
  } finally {
    await handle.close();
  }
}

function countLines(text: string, counts: Counts): void {
  for (const line of text.split("\n")) {
    for (const name of names) {
      if (logMetrics[name].anyOf.some((part) => line.includes(part))) {
        counts.set(name, (counts.get(name) ?? 0) + 1);
      }
    }
  }
}
