import { describe, expect, it } from "vitest";
import type { Forecast } from "../../lib/history/extrapolate.ts";
import { type CollectHistoryReport, collectHistory, measurements } from "../../lib/jobs/collect-history.ts";
import { runJob } from "../../lib/jobs/runner.ts";
import { configFor } from "../helpers/config.ts";
import { portsFor } from "../helpers/ports.ts";
import { allMajors, useServer } from "../helpers/postgres.ts";
import { daysPass } from "../history/time.ts";
import { type Installed, installed, password } from "../install/installed.ts";

describe("what collect-history measures", () => {
  const forecast = (kind: Forecast["kind"], verdict: Forecast["verdict"], days?: number): Forecast => ({
    kind,
    subject: kind,
    verdict,
    used: 1,
    limit: 2,
    limitBasis: "",
    notes: [],
    ...(days === undefined ? {} : { days }),
  });

  it("is the soonest end of each kind, and nothing for what cannot be assessed", () => {
    const measured = measurements([
      forecast("storage", "not-assessable"),
      forecast("transaction-ids", "no-end"),
      forecast("multixact-ids", "ends", 12),
      forecast("key", "ends", 99_999),
      forecast("key", "ends", 7),
      forecast("key", "not-assessable"),
    ]);
    expect(Object.fromEntries(measured)).toEqual({
      DaysUntilTransactionIdsExhausted: 12,
      DaysUntilKeyExhausted: 7,
    });
    expect(measurements([forecast("key", "ends", 99_999)]).get("DaysUntilKeyExhausted")).toBe(3650);
  });
});

describe.each(allMajors)("collect-history on PostgreSQL %i", (major) => {
  const server = useServer(major, { settings: { autovacuum: "off" } });

  const run = async (shop: Installed, login = { user: shop.names.monitoring, password }, dryRun = false) => {
    const ports = portsFor(server.target(shop.database, login));
    const result = await runJob(collectHistory, { ports, config: shop.config, dryRun });
    const measured = Object.fromEntries(
      ports.data.filter(({ name }) => name.startsWith("DaysUntil")).map(({ name, value }) => [name, value]),
    );
    return { result, report: result.report as unknown as CollectHistoryReport, measured };
  };

  it("forecasts once it has seen a week, and measures nothing before", async () => {
    const shop = await installed(server);
    await shop.as(undefined, (session) => session.query("create table public.t (id serial)"));
    const measured: Record<string, number>[] = [];
    for (let day = 0; day < 7; day += 1) {
      if (day > 0) await shop.as(undefined, daysPass);
      await shop.as(undefined, (session) =>
        session.query("select setval('public.t_id_seq', $1)", [2_140_000_000 + 1_000_000 * day]),
      );
      const { result, measured: now } = await run(shop);
      expect(result.error).toBeUndefined();
      expect(result.outcome).toBe("succeeded");
      measured.push(now);
    }
    expect(measured.slice(0, 6)).toEqual(Array(6).fill({}));
    expect(measured[6]).toMatchObject({ DaysUntilTransactionIdsExhausted: 3650 });
    expect(measured[6]?.DaysUntilKeyExhausted).toBeCloseTo(1.5, 0);
    expect(measured[6]).toHaveProperty("DaysUntilStorageFull");
    const { report } = await run(shop);
    expect(report.again).toBe(true);
    expect(report.forecasts.map(({ subject, limit }) => [subject, limit])).toContainEqual([
      "public.t.id",
      2_147_483_647,
    ]);
  });

  it("writes nothing on a dry run, and reports what it would", async () => {
    const shop = await installed(server);
    const { result, report } = await run(shop, undefined, true);
    expect(result.outcome).toBe("succeeded");
    expect(report.tablesAdded).toBeGreaterThan(0);
    const rows = await shop.as(undefined, (session) => session.query("select from pgkeep.history_day"));
    expect(rows).toEqual([]);
  });

  it("says by name what a role may not do, and what is not installed", async () => {
    const shop = await installed(server);
    const { result } = await run(shop, { user: shop.names.maintenance, password });
    expect(result).toMatchObject({ outcome: "failed", error: { code: "insufficient-privilege" } });
    const rows = await shop.as(undefined, (session) => session.query("select from pgkeep.history_day"));
    expect(rows).toEqual([]);
    const empty = await server.createDatabase();
    const ports = portsFor(server.target(empty));
    expect(await runJob(collectHistory, { ports, config: configFor(empty) })).toMatchObject({
      outcome: "failed",
      error: { code: "not-installed" },
    });
  });

  it("works as the RDS-like master user that installed the schema", async () => {
    const shop = await installed(server);
    const { result } = await run(shop, shop.master);
    expect(result.error).toBeUndefined();
    expect(result.outcome).toBe("succeeded");
  });
});
