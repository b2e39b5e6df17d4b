import { type FileHandle, open, stat } from "node:fs/promises";
import type { MetricDatum, Metrics } from "../../ports/metrics.ts";
import type { MetricLine } from "../metrics.ts";
import type { Datum, SeriesId, SeriesStore } from "./series.ts";

/** Where a measurement of pgkeep's own belongs. */
export function seriesOfDatum({ name, value, at, dimensions }: MetricDatum): { id: SeriesId; datum: Datum } {
  return {
    id: { from: "pgkeep", metric: name, dimensions },
    datum: { atMilliseconds: at.getTime(), value },
  };
}

/** The same port, of which everything that is put is in the store as well. */
export function recordingMetrics(metrics: Metrics, store: SeriesStore): Metrics {
  return {
    async put(data) {
      for (const one of data) {
        const { id, datum } = seriesOfDatum(one);
        store.add(id, datum);
      }
      await metrics.put(data);
    },
  };
}

export interface MetricsTail {
  /** Puts into the store what was appended since the last call, by whichever process. @returns how many */
  read(): Promise<number>;
  close(): Promise<void>;
}

const chunkBytes = 256 * 1024;

/**
 * Follows the metrics file of a sandbox from its beginning, over its turns: a job that somebody runs in another
 * terminal counts like one of the sandbox's own.
 */
export function metricsTail(file: string, store: SeriesStore): MetricsTail {
  let current: { handle: FileHandle; inode: number; position: number; rest: string } | undefined;

  const readOn = async (): Promise<number> => {
    if (current === undefined) return 0;
    let count = 0;
    const buffer = Buffer.alloc(chunkBytes);
    for (;;) {
      const { bytesRead } = await current.handle.read(buffer, 0, chunkBytes, current.position);
      if (bytesRead === 0) return count;
      current.position += bytesRead;
      // As latin1, so that a character that lies across two chunks is put together again below.
      const lines = (current.rest + buffer.toString("latin1", 0, bytesRead)).split("\n");
      current.rest = lines.pop() ?? "";
      for (const line of lines) count += addLine(store, Buffer.from(line, "latin1").toString("utf8"));
    }
  };

  return {
    async read() {
      const inode = await inodeOf(file);
      let count = await readOn();
      if (inode !== undefined && inode !== current?.inode) {
        await current?.handle.close();
        current = { handle: await open(file, "r"), inode, position: 0, rest: "" };
        count += await readOn();
      }
      return count;
    },
    async close() {
      await current?.handle.close();
      current = undefined;
    },
  };
}

async function inodeOf(file: string): Promise<number | undefined> {
  try {
    return (await stat(file)).ino;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** 1, or 0 for a line that a full disk cut off. */
function addLine(store: SeriesStore, text: string): number {
  let line: MetricLine;
  try {
    line = JSON.parse(text) as MetricLine;
  } catch {
    return 0;
  }
  const { Database: _, ...dimensions } = line.dimensions;
  store.add(
    { from: "pgkeep", metric: line.name, dimensions },
    { atMilliseconds: Date.parse(line.at), value: line.value },
  );
  return 1;
}
