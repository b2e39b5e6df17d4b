import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type AwsMetricName, awsMetric } from "../../../lib/alarms/aws-metrics.ts";
import type { Session } from "../../../lib/ports/databases.ts";
import { connect } from "../../../lib/postgres/connect.ts";
import { sandboxAlarms } from "../../../lib/sandbox/alarms/alarms-of-sandbox.ts";
import { type SeriesId, seriesOf } from "../../../lib/sandbox/alarms/series.ts";
import { restartServer } from "../../../lib/sandbox/cluster.ts";
import { createMeasurer, type Measurer } from "../../../lib/sandbox/measures/index.ts";
import { unmeasured } from "../../../lib/sandbox/measures/unmeasured.ts";
import {
  crashPooler,
  findPgbouncer,
  noPgbouncer,
  type Pgbouncer,
  restartPooler,
  startPoolers,
  stopPooler,
} from "../../../lib/sandbox/pooler.ts";
import { makeDirectory } from "../../../lib/sandbox/replica.ts";
import { crashServer } from "../../../lib/sandbox/server.ts";
import type { PoolerState } from "../../../lib/sandbox/state.ts";
import { eventually } from "../../checks/helpers.ts";
import { configFor } from "../../helpers/config.ts";
import { defaultMajor } from "../../helpers/postgres.ts";
import { useShopSandbox } from "../../helpers/shop-sandbox.ts";
import { maybeValue, valueFor } from "./helpers.ts";

const pgbouncer = await findPgbouncer();
const title =
  pgbouncer === null ? `measures of the pooler (skipped: ${noPgbouncer})` : "measures of the pooler";

describe.skipIf(pgbouncer === null)(title, () => {
  const sandbox = useShopSandbox(defaultMajor);
  const config = configFor("shop", {
    pooling: { enabled: true, poolSize: 2, reservePoolSize: 0, borrowTimeoutSeconds: 20 },
  });
  let measurer: Measurer;
  const clients: Session[] = [];

  const place = (): PoolerState => sandbox.state.poolers?.[0] as PoolerState;
  const through = async (login = sandbox.state.application.writer): Promise<Session> => {
    const session = await connect(
      { host: "127.0.0.1", port: place().port, database: sandbox.state.database, ...login },
      { pooled: true },
    );
    clients.push(session);
    return session;
  };
  const leave = () => Promise.all(clients.splice(0).map((client) => client.close()));

  beforeAll(async () => {
    const { state } = sandbox;
    const directory = `${state.directory}/poolers`;
    await makeDirectory(state, directory);
    state.poolers = await startPoolers([state.primary], {
      pgbouncer: pgbouncer as Pgbouncer,
      owner: state.owner,
      directory,
      database: state.database,
      pooling: config.pooling,
      logins: [state.application.writer, state.application.reporting],
      statsLogin: { user: "pgkeep_stats", password: "secret" },
    });
    measurer = createMeasurer({ state, config });
  });
  afterAll(async () => {
    await leave();
    await measurer?.close();
    await Promise.all((sandbox.state.poolers ?? []).map(stopPooler));
  });

  it("count its clients, and the connections of its fullest pool against what that may have", async () => {
    const quiet = await measurer.measure();
    expect(valueFor(quiet, "AvailabilityPercentage")).toBe(100);
    expect(valueFor(quiet, "ClientConnections")).toBe(0);
    const [first] = await Promise.all([through(), through(), through()]);
    await through(sandbox.state.application.reporting);
    await first?.query("begin");
    const one = await measurer.measure();
    expect(valueFor(one, "ClientConnections")).toBe(4);
    expect(valueFor(one, "MaxDatabaseConnectionsAllowed")).toBe(2);
    await first?.query("commit");
    const [, second, third] = clients;
    await Promise.all([first, second].map((client) => client?.query("begin")));
    const both = await measurer.measure();
    expect(valueFor(both, "ProxyDatabaseConnections")).toBe(2);
    expect(third).toBeDefined();
    await Promise.all([first, second].map((client) => client?.query("commit")));
    await leave();
  });

  it("tell how long clients wait: those that wait now, and those that have waited", async () => {
    const [one, two, three] = await Promise.all([through(), through(), through()]);
    await Promise.all([one.query("begin"), two.query("begin")]);
    const waiting = three.query("select 1");
    await eventually("the third waits a third of a second", async () =>
      (maybeValue(await measurer.measure(), "DatabaseConnectionsBorrowLatency") ?? 0) > 300_000
        ? true
        : undefined,
    );
    await one.query("commit");
    await waiting;
    const after = await eventually("its wait is counted", async () =>
      maybeValue(await measurer.measure(), "DatabaseConnectionsBorrowLatency"),
    );
    expect(after).toBeGreaterThan(50_000);
    await two.query("commit");
    for (let query = 0; query < 20; query++) await one.query("select 1");
    expect(valueFor(await measurer.measure(), "DatabaseConnectionsBorrowLatency")).toBeLessThan(after / 5);
    // Nobody has borrowed anything since.
    expect(maybeValue(await measurer.measure(), "DatabaseConnectionsBorrowLatency")).toBeUndefined();
    await leave();
  });

  it("say that it is not available when it is down, or the server behind it", async () => {
    await crashPooler(place());
    const gone = await measurer.measure();
    expect(valueFor(gone, "AvailabilityPercentage")).toBe(0);
    expect(maybeValue(gone, "ClientConnections")).toBeUndefined();
    sandbox.state.poolers = [
      await restartPooler(place(), { pgbouncer: pgbouncer as Pgbouncer, owner: sandbox.state.owner }),
    ];
    expect(valueFor(await measurer.measure(), "AvailabilityPercentage")).toBe(100);
    await crashServer(sandbox.state.primary.dataDirectory);
    const alone = await measurer.measure();
    expect(valueFor(alone, "AvailabilityPercentage")).toBe(0);
    expect(valueFor(alone, "ClientConnections")).toBe(0);
    await restartServer(sandbox.state, sandbox.state.primary);
    expect(valueFor(await measurer.measure(), "AvailabilityPercentage")).toBe(100);
  });

  it("give, with the others, each series that an alarm of a sandbox reads, and values that AWS's could have", async () => {
    const { state } = sandbox;
    const alarms = sandboxAlarms({ state, config, jobs: [], maxConnections: 100 });
    const asked = alarms.flatMap((alarm) => seriesOf(alarm)).filter(({ from }) => from !== "pgkeep");
    const name = ({ metric, dimensions }: SeriesId) => `${metric} ${JSON.stringify(dimensions)}`;
    const uncounted = defaultMajor < 16 ? ["WriteLatency"] : [];
    const wanted = new Set(
      asked.filter(({ metric }) => !(metric in unmeasured) && !uncounted.includes(metric)).map(name),
    );
    expect(wanted.size).toBeGreaterThan(15);
    const session = await through();
    await measurer.measure();
    const measured = await eventually("there is something of each", async () => {
      await session.query("select 1");
      const now = await measurer.measure();
      const found = new Set(now.map(({ id }) => name(id)));
      return [...wanted].every((one) => found.has(one)) ? now : undefined;
    });
    for (const { id, value } of measured) {
      if (id.from !== "aws") continue;
      const [least, most] = awsMetric(id.metric as AwsMetricName).range;
      expect(value, name(id)).toBeGreaterThanOrEqual(least);
      expect(value, name(id)).toBeLessThanOrEqual(most);
    }
    await leave();
  });

  it("say nothing where there is no pooler", async () => {
    const { poolers } = sandbox.state;
    sandbox.state.poolers = null;
    const measured = await measurer.measure();
    sandbox.state.poolers = poolers;
    expect(measured.filter(({ id }) => id.dimensions.Proxy !== undefined)).toEqual([]);
  });
});
