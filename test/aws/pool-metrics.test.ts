import { CloudWatchClient, type MetricDatum, PutMetricDataCommand } from "@aws-sdk/client-cloudwatch";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type ProxyMetricsOptions, proxyMetrics } from "../../lib/aws/pool-metrics.ts";
import { databaseConfigSchema } from "../../lib/config/schema.ts";
import { proxyFindings, proxyLimits } from "../../lib/pooling/proxy.ts";
import type { ProxyMeasurements } from "../../lib/ports/proxy-metrics.ts";
import { motoCredentials, noMoto, useMoto } from "../helpers/moto.ts";

const region = "eu-west-1";
const limits = proxyLimits(databaseConfigSchema.parse({ pooling: { borrowTimeoutSeconds: 30 } }));

describe.skipIf(noMoto !== undefined)(
  `the proxy's metrics${noMoto === undefined ? "" : ` (${noMoto})`}`,
  () => {
    const moto = useMoto();
    let client: CloudWatchClient;
    // The half of a minute: what has begun is not looked at.
    const now = new Date(Math.floor(Date.now() / 60_000) * 60_000 + 30_000);
    const minutesAgo = (minutes: number) => new Date(Math.floor(now.getTime() / 60_000 - minutes) * 60_000);

    beforeAll(() => {
      client = new CloudWatchClient({ region, endpoint: moto.endpoint, credentials: motoCredentials });
    });
    beforeEach(() => moto.reset());
    afterAll(() => client?.destroy());

    const put = async (
      minutes: number,
      values: Record<string, number>,
      dimensions: Record<string, string> = { ProxyName: "pgkeep-shop" },
    ) => {
      await client.send(
        new PutMetricDataCommand({
          Namespace: "AWS/RDS",
          MetricData: Object.entries(values).map(
            ([MetricName, Value]): MetricDatum => ({
              MetricName,
              Value,
              Timestamp: minutesAgo(minutes),
              Dimensions: Object.entries(dimensions).map(([Name, dimension]) => ({ Name, Value: dimension })),
            }),
          ),
        }),
      );
    };
    const read = async (key = "Shop", options: Partial<ProxyMetricsOptions> = {}) => {
      const metrics = proxyMetrics(key, {
        region,
        endpoint: moto.endpoint,
        credentials: motoCredentials,
        ...options,
      });
      try {
        return await metrics.read(now);
      } finally {
        metrics.close();
      }
    };
    const always = { ClientConnections: 40, DatabaseConnections: 9, MaxDatabaseConnectionsAllowed: 10 };
    const writer = { ProxyName: "pgkeep-shop", TargetGroup: "default", TargetRole: "READ_WRITE" };

    it("adds up the proxy's nodes, and takes microseconds for seconds", async () => {
      const node = (latency: number) => ({
        ...always,
        ClientConnectionsSetupSucceeded: 3,
        DatabaseConnectionsCurrentlyBorrowed: 8,
        DatabaseConnectionsCurrentlySessionPinned: 6,
        DatabaseConnectionsBorrowLatency: latency,
        QueryRequests: 600,
      });
      await put(2, node(400_000));
      await put(2, node(600_000));
      await put(2, { AvailabilityPercentage: 100 }, writer);
      const measured = await read();
      expect(measured).toEqual({
        proxy: "pgkeep-shop",
        region,
        windowSeconds: 900,
        at: minutesAgo(2),
        latest: {
          clientConnections: 80,
          clientsSetUp: 6,
          databaseConnections: 18,
          borrowed: 16,
          pinned: 12,
          maxDatabaseConnections: 20,
          borrowLatencySeconds: 0.5,
          availabilityPercent: 100,
          queryRequests: 1_200,
        },
        worst: measured?.latest,
      });
      expect(found(measured)).toEqual([
        ["borrow-latency", "high"],
        ["pinned", "medium"],
      ]);
    });

    it("finds a pool that is used up and a writer that is out of reach", async () => {
      await put(1, { ...always, DatabaseConnectionsCurrentlyBorrowed: 10 });
      await put(1, { AvailabilityPercentage: 25 }, writer);
      expect(found(await read())).toEqual([
        ["unavailable", "critical"],
        ["pool-saturated", "critical"],
      ]);
    });

    it("waits for what arrives late, and keeps the worst of the window", async () => {
      await put(10, { ...always, ClientConnections: 500, DatabaseConnectionsBorrowLatency: 20_000_000 });
      await put(3, {
        ...always,
        DatabaseConnectionsCurrentlyBorrowed: 2,
        DatabaseConnectionsBorrowLatency: 1_000,
      });
      await put(1, { ClientConnections: 1 });
      const measured = await read();
      expect(measured?.at).toEqual(minutesAgo(3));
      expect(measured?.latest).toMatchObject({
        clientConnections: 40,
        borrowLatencySeconds: 0.001,
        pinned: null,
      });
      expect(measured?.worst).toMatchObject({ clientConnections: 500, borrowLatencySeconds: 20 });
      expect(found(measured)).toEqual([]);
    });

    it("knows nothing of another database's proxy, of what is older, and of the minute that has only begun", async () => {
      await put(1, always, { ProxyName: "pgkeep-shop2" });
      await put(20, always);
      await put(0, always);
      expect(await read()).toBeUndefined();
      expect((await read("shop2"))?.latest.clientConnections).toBe(40);
    });

    it("says what could not be read when nothing answers", async () => {
      const metrics = proxyMetrics("shop", {
        region,
        endpoint: "http://127.0.0.1:9",
        credentials: motoCredentials,
      });
      await expect(metrics.read(now)).rejects.toMatchObject({
        code: "unreachable",
        message: expect.stringContaining("read the metrics of the proxy pgkeep-shop in eu-west-1"),
      });
      metrics.close();
    });
  },
);

function found(measured: ProxyMeasurements | undefined): [string, string][] {
  if (measured === undefined) throw new Error("nothing was measured");
  return proxyFindings(measured, limits).map(({ kind, severity }) => [kind, severity]);
}
