import parsePrometheusTextFormat from "parse-prometheus-text-format";
import { describe, expect, it } from "vitest";
import { metrics as definitions, type MetricName } from "../lib/alarms/metrics.ts";
import { prometheusName, prometheusText } from "../lib/prometheus.ts";

const names = Object.keys(definitions) as MetricName[];

describe("names for Prometheus", () => {
  it.each<[MetricName, string, number]>([
    ["Up", "pgkeep_up", 1],
    ["ConnectionsUsed", "pgkeep_connections_used", 1],
    ["ConnectionsUsedPercent", "pgkeep_connections_used_ratio", 0.01],
    ["CacheHitPercent", "pgkeep_cache_hit_ratio", 0.01],
    ["LongestQueryAge", "pgkeep_longest_query_age_seconds", 1],
    ["ReplicaLagSeconds", "pgkeep_replica_lag_seconds", 1],
    ["DatabaseSizeBytes", "pgkeep_database_size_bytes", 1],
    ["TemporaryBytes", "pgkeep_temporary_bytes_total", 1],
    ["Deadlocks", "pgkeep_deadlocks_total", 1],
    ["JobDuration", "pgkeep_job_duration_seconds", 1],
  ])("%s is %s", (name, expected, factor) => {
    expect(prometheusName(name)).toEqual({ name: expected, factor });
  });

  it("are valid, different, and end in no unit that is not a base unit", () => {
    const shown = names.map((name) => prometheusName(name).name);
    expect(new Set(shown).size).toBe(names.length);
    for (const name of shown) {
      expect(name).toMatch(/^pgkeep(_[a-z0-9]+)+$/);
      expect(name).not.toMatch(/percent|milliseconds/);
    }
  });
});

describe("text for Prometheus", () => {
  it("says what each metric is, in base units, with totals only for totals", async () => {
    const text = await prometheusText({
      database: "shop",
      metrics: [
        { name: "ConnectionsUsedPercent", value: 12.34, dimensions: {} },
        { name: "ConnectionsByState", value: 3, dimensions: { State: "idle" } },
        { name: "ConnectionsByState", value: 1, dimensions: { State: "active" } },
        { name: "Deadlocks", value: 1, dimensions: {} },
      ],
      counters: {
        Deadlocks: 7,
        TransactionsCommitted: 123_456_789_012,
        "replica/x/replayedTo": 5,
        BlocksHit: 9,
        toString: 1,
      },
    });
    expect(text).toBe(
      `# HELP pgkeep_connections_used_ratio Client connections against what max_connections leaves to ordinary roles (0 to 1)
# TYPE pgkeep_connections_used_ratio gauge
pgkeep_connections_used_ratio{database="shop"} 0.1234

# HELP pgkeep_connections_by_state Client connections by state
# TYPE pgkeep_connections_by_state gauge
pgkeep_connections_by_state{database="shop",state="idle"} 3
pgkeep_connections_by_state{database="shop",state="active"} 1

# HELP pgkeep_deadlocks_total Deadlocks, since the statistics were reset
# TYPE pgkeep_deadlocks_total counter
pgkeep_deadlocks_total{database="shop"} 7

# HELP pgkeep_transactions_committed_total Transactions committed, since the statistics were reset
# TYPE pgkeep_transactions_committed_total counter
pgkeep_transactions_committed_total{database="shop"} 123456789012
`,
    );
  });

  it.each([`quo"te`, "back\\slash", "new\nline", `all "\\\n" of it`, "größe – 数据库", "a,b}c{d=e", "\\n"])(
    "keeps the label %j whole",
    async (value) => {
      const text = await prometheusText({
        database: value,
        metrics: [
          { name: "ReplicaLagBytes", value: 1, dimensions: { Replica: value } },
          { name: "ReplicaLagBytes", value: 2, dimensions: { Replica: "other" } },
        ],
        counters: {},
      });
      // Each sample is one line, whatever its labels contain.
      expect(text.trimEnd().split("\n")).toHaveLength(4);
      expect(parsePrometheusTextFormat(text)).toMatchObject([
        {
          name: "pgkeep_replica_lag_bytes",
          type: "GAUGE",
          metrics: [
            { labels: { database: value, replica: value }, value: "1" },
            { labels: { database: value, replica: "other" }, value: "2" },
          ],
        },
      ]);
    },
  );
});
