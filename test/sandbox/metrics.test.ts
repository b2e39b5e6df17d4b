import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { MetricDatum } from "../../lib/ports/metrics.ts";
import { fileMetrics } from "../../lib/sandbox/metrics.ts";

describe("metrics of the sandbox", () => {
  let directory: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "pgkeep-test-metrics-"));
  });
  afterAll(() => rm(directory, { recursive: true }));

  const datum = (value: number): MetricDatum => ({
    name: "ReplicaLagBytes",
    value,
    at: new Date("2026-01-02T03:04:05Z"),
    dimensions: { Replica: 'a\n"b' },
  });

  it("are lines of JSON that their owner alone can read, with unit and database", async () => {
    const file = join(directory, "lines.jsonl");
    const metrics = fileMetrics(file, "shop");
    await metrics.put([datum(1), datum(2)]);
    await metrics.put([]);
    await metrics.put([datum(3)]);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    const lines = (await readFile(file, "utf8")).trimEnd().split("\n");
    expect(lines.map((line) => (JSON.parse(line) as { value: number }).value)).toEqual([1, 2, 3]);
    expect(JSON.parse(lines[0] ?? "")).toEqual({
      at: "2026-01-02T03:04:05.000Z",
      name: "ReplicaLagBytes",
      value: 1,
      unit: "Bytes",
      dimensions: { Database: "shop", Replica: 'a\n"b' },
    });
  });

  it("keep the file small, whole lines only, however many write at once", async () => {
    const file = join(directory, "small.jsonl");
    const limit = 20_000;
    const writers = Array.from({ length: 4 }, () => fileMetrics(file, "shop", { turnOverBytes: limit }));
    for (let round = 0; round < 50; round += 1) {
      await Promise.all(writers.map((writer) => writer.put([datum(round), datum(round)])));
    }
    for (const name of [file, `${file}.1`]) {
      expect((await stat(name)).size).toBeLessThan(limit + 2_000);
      expect((await stat(name)).mode & 0o777).toBe(0o600);
      for (const line of (await readFile(name, "utf8")).trimEnd().split("\n")) {
        expect(JSON.parse(line)).toMatchObject({ name: "ReplicaLagBytes" });
      }
    }
    expect(await readFile(file, "utf8")).toContain('"value":49');
  });
});
