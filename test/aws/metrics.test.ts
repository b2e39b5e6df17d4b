import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import type { MetricDatum } from "../../lib/ports/metrics.ts";

const root = join(import.meta.dirname, "../..");
const run = promisify(execFile);

interface Line {
  _aws: {
    Timestamp: number;
    CloudWatchMetrics: {
      Namespace: string;
      Dimensions: string[][];
      Metrics: { Name: string; Unit: string }[];
    }[];
  };
  [name: string]: unknown;
}

/** What a Lambda's log would take: stdout of a process of its own. */
async function printed(data: MetricDatum[]): Promise<Line[]> {
  const program = `
    import { embeddedMetrics } from "./lib/aws/metrics.ts";
    const data = JSON.parse(process.argv[1]).map((datum) => ({ ...datum, at: new Date(datum.at) }));
    await embeddedMetrics("shop").put(data);`;
  const { stdout } = await run(
    process.execPath,
    ["--import", "tsx", "--input-type=module", "-e", program, JSON.stringify(data)],
    { cwd: root },
  );
  return stdout
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line) as Line);
}

describe("metrics on AWS", () => {
  it("are one line of embedded metric format for each set of dimensions, with no dimension beside them", async () => {
    const at = new Date(Math.floor(Date.now() / 1000) * 1000);
    const lines = await printed([
      { name: "Up", value: 1, at, dimensions: {} },
      { name: "CacheHitPercent", value: 99.5, at, dimensions: {} },
      { name: "ReplicaLagBytes", value: 42, at, dimensions: { Replica: "replica-1" } },
      { name: "ReplicaLagBytes", value: 7, at, dimensions: { Replica: "replica-2" } },
    ]);
    expect(
      lines.map((line) => {
        const [directive] = line._aws.CloudWatchMetrics;
        return {
          at: line._aws.Timestamp,
          namespace: directive?.Namespace,
          dimensions: directive?.Dimensions.map((set) =>
            Object.fromEntries([...set].sort().map((name) => [name, line[name]])),
          ),
          metrics: directive?.Metrics.map(({ Name, Unit }) => [Name, Unit, line[Name]]),
        };
      }),
    ).toEqual([
      {
        at: at.getTime(),
        namespace: "pgkeep",
        dimensions: [{ Database: "shop" }],
        metrics: [
          ["Up", "Count", 1],
          ["CacheHitPercent", "Percent", 99.5],
        ],
      },
      {
        at: at.getTime(),
        namespace: "pgkeep",
        dimensions: [{ Database: "shop", Replica: "replica-1" }],
        metrics: [["ReplicaLagBytes", "Bytes", 42]],
      },
      {
        at: at.getTime(),
        namespace: "pgkeep",
        dimensions: [{ Database: "shop", Replica: "replica-2" }],
        metrics: [["ReplicaLagBytes", "Bytes", 7]],
      },
    ]);
  });

  it("spread over lines of at most a hundred metrics, and none is lost", async () => {
    const at = new Date();
    const data = Array.from({ length: 230 }, (_, index) => ({
      name: "TablesLeft" as const,
      value: index,
      at,
      dimensions: {},
    }));
    const values = (await printed(data)).flatMap((line) => line.TablesLeft as number | number[]);
    expect(values.sort((a, b) => a - b)).toEqual(data.map(({ value }) => value));
  });

  it("print nothing for nothing", async () => {
    expect(await printed([])).toEqual([]);
  });
});
