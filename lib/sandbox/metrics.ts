import { open, rename, stat } from "node:fs/promises";
import { metrics as definitions } from "../alarms/metrics.ts";
import type { Metrics } from "../ports/metrics.ts";

/** The file is turned over at this size, and one older file is kept beside it: days of a sandbox's life. */
const turnOverBytes = 8 * 1024 * 1024;

/** One line of the file, as JSON. */
export interface MetricLine {
  /** ISO 8601. */
  at: string;
  name: string;
  value: number;
  unit: string;
  dimensions: { Database: string; [name: string]: string };
}

/**
 * Appends measurements to a file, one JSON document a line, readable by its owner only. All of one call go
 * in one write, so that lines of several processes do not mix. Bounded: `FILE` and the older `FILE.1`.
 */
export function fileMetrics(
  file: string,
  database: string,
  options: { turnOverBytes?: number } = {},
): Metrics {
  return {
    async put(data) {
      if (data.length === 0) return;
      const lines = data.map((datum) => {
        const line: MetricLine = {
          at: datum.at.toISOString(),
          name: datum.name,
          value: datum.value,
          unit: definitions[datum.name].unit,
          dimensions: { ...datum.dimensions, Database: database },
        };
        return `${JSON.stringify(line)}\n`;
      });
      await turnOver(file, options.turnOverBytes ?? turnOverBytes);
      const handle = await open(file, "a", 0o600);
      try {
        await handle.appendFile(lines.join(""));
      } finally {
        await handle.close();
      }
    },
  };
}

async function turnOver(file: string, limit: number): Promise<void> {
  try {
    if ((await stat(file)).size < limit) return;
    await rename(file, `${file}.1`);
  } catch (error) {
    // Not there yet, or another process was faster.
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
}
