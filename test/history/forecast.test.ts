import { describe, expect, it } from "vitest";
import { describeForecast, describeForecasts } from "../../lib/history/describe.ts";
import type { Forecast } from "../../lib/history/extrapolate.ts";
import { forecast, forecastStorage } from "../../lib/history/forecast.ts";
import { forecastSpace } from "../../lib/history/forecast-ids.ts";
import type { DaySample } from "../../lib/history/read.ts";
import type { Session } from "../../lib/ports/databases.ts";
import { oldestAndNewest, useServer } from "../helpers/postgres.ts";
import { type Installed, installed } from "../install/installed.ts";
import { collect } from "./collected.ts";
import { daysPass } from "./time.ts";

const gibibyte = 2 ** 30;
const storage = { topology: "instance", maxStorageGigabytes: 100 };

const day = (at: number, bytes: number, more: Partial<DaySample> = {}): DaySample => ({
  day: new Date(at * 86_400_000).toISOString().slice(0, 10),
  at,
  databaseBytes: bytes,
  sizeBasis: "files",
  nextTransactionId: 0,
  transactionIdAge: 0,
  nextMultixactId: 0,
  multixactAge: 0,
  tables: 1,
  tablesUnmeasured: 0,
  ...more,
});

describe("a forecast of storage", () => {
  it("says how long the rest lasts", () => {
    const days = Array.from({ length: 15 }, (_, at) => day(20_000 + at, (40 + at) * gibibyte));
    const found = forecastStorage(days, storage);
    expect(found).toMatchObject({ verdict: "ends", days: 46, earliestDays: 46, latestDays: 46 });
    expect(found.confidence).toBe("medium");
    expect(describeForecast(found)).toContain(
      "storage: ends in 46 days (46 to 46) (54 GiB of 100 GiB: database.maxStorageGigabytes, 100 GiB)",
    );
  });

  it("is none for a window that is too short, for Aurora, and for what does not grow", () => {
    expect(forecastStorage([day(1, 1), day(2, 2)], storage)).toMatchObject({
      verdict: "not-assessable",
      reason: "only 2 samples over 1 day; it takes 5 over 6 days",
    });
    expect(forecastStorage([day(1, 1)], { ...storage, topology: "aurora" }).verdict).toBe("not-assessable");
    const steady = Array.from({ length: 15 }, (_, at) => day(at, gibibyte));
    expect(forecastStorage(steady, storage).verdict).toBe("no-end");
  });

  it("sees that it shrank, and does not compare sizes of two kinds", () => {
    const cut = Array.from({ length: 20 }, (_, at) => day(at, (at < 10 ? 80 + at : 20 + at) * gibibyte));
    expect(forecastStorage(cut, storage)).toMatchObject({
      verdict: "ends",
      days: 61,
      notes: ["it shrank on 1970-01-11: only what came after counts"],
    });
    const mixed = Array.from({ length: 20 }, (_, at) =>
      day(at, (at < 10 ? 50 : 60 + at) * gibibyte, { sizeBasis: at < 10 ? "files" : "estimate" }),
    );
    expect(forecastStorage(mixed, storage)).toMatchObject({ days: 21, trend: { samples: 10 } });
  });

  it("is over when it is full", () => {
    expect(forecastStorage([day(1, 101 * gibibyte)], storage)).toMatchObject({ verdict: "ends", days: 0 });
  });
});

describe("a forecast of transaction ids", () => {
  const freezing = { setting: "autovacuum_freeze_max_age", trigger: 200_000_000 };
  const using = (perDay: number, age: number) =>
    Array.from({ length: 15 }, (_, at) => ({ at, next: at * perDay, age: age - (14 - at) * perDay }));

  it("has no end while autovacuum freezes in time, however many are used", () => {
    const found = forecastSpace("transaction-ids", using(100_000_000, 150_000_000), freezing);
    expect(found.verdict).toBe("no-end");
    expect(found.notes).toEqual([
      "the next freezing of old rows is due in 0.5 days; were nothing frozen from now on, they would end in 19.9 days",
    ]);
  });

  it("ends 3,000,000 before the wrap once autovacuum does not get through", () => {
    const found = forecastSpace("transaction-ids", using(50_000_000, 644_483_647), freezing);
    expect(found).toMatchObject({ verdict: "ends", days: 30, limit: 2_144_483_647 });
  });

  it("begins anew after a restore that set the counter back", () => {
    const samples = [
      ...using(1000, 0).map((one) => ({ ...one, next: one.next + 1e9 })),
      { at: 15, next: 5, age: 5 },
    ];
    expect(forecastSpace("transaction-ids", samples, freezing)).toMatchObject({
      verdict: "not-assessable",
      notes: ["the counter was set back (a restore): only what came after counts"],
    });
  });
});

describe.each(oldestAndNewest)("forecasts on PostgreSQL %i", (major) => {
  const server = useServer(major, { settings: { autovacuum: "off" } });

  const days = async (
    shop: Installed,
    count: number,
    each: (session: Session, day: number) => Promise<unknown>,
  ) => {
    for (let at = 0; at < count; at += 1) {
      await shop.as(undefined, (session) => each(session, at));
      await collect(shop);
      if (at < count - 1) await shop.as(undefined, daysPass);
    }
  };
  const keysOf = async (shop: Installed): Promise<Forecast[]> =>
    (await shop.as(shop.names.monitoring, (session) => forecast(session, storage))).forecasts.filter(
      ({ kind }) => kind === "key",
    );
  const setval = (sequence: string, value: number) => (session: Session) =>
    session.query("select setval($1::regclass, $2)", [sequence, value]);

  it("say when an integer key runs out, by type, by sequence and by what refers to it", async () => {
    const shop = await installed(server);
    await shop.as(undefined, async (session) => {
      await session.query("create table public.small (id smallserial primary key)");
      await session.query(
        "create table public.capped (id bigint generated always as identity (maxvalue 50000) primary key)",
      );
      await session.query("create table public.big (id bigserial primary key)");
      await session.query("create table public.child (id bigserial, big_id int references public.big)");
      await session.query("create sequence public.down increment -1");
      await session.query("create table public.backward (id int default nextval('public.down'))");
    });
    await days(shop, 8, async (session, at) => {
      await setval("public.small_id_seq", 30_000 + 100 * at)(session);
      await setval("public.capped_id_seq", 1000 + 1000 * at)(session);
      await setval("public.big_id_seq", 2_000_000_000 + 10_000_000 * at)(session);
      await setval("public.down", -10_000 - at * 100)(session);
    });
    const found = new Map(
      (await keysOf(shop)).map((one) => [`${one.object?.table}.${one.object?.column}`, one] as const),
    );
    expect(found.get("small.id")).toMatchObject({
      verdict: "ends",
      days: 20.7,
      limit: 32_767,
      limitBasis: "the range of smallint",
    });
    expect(found.get("capped.id")).toMatchObject({
      verdict: "ends",
      days: 42,
      limitBasis: "the end of sequence public.capped_id_seq",
    });
    expect(found.get("child.big_id")).toMatchObject({ verdict: "ends", days: 7.7, limit: 2_147_483_647 });
    expect(found.get("big.id")?.days).toBeGreaterThan(1e9);
    expect(found.get("backward.id")).toMatchObject({ verdict: "ends", used: 10_700, limit: 2_147_483_648 });
    expect(found.has("child.id")).toBe(false);
  });

  it("follow the rate after a sequence was set back, and say so", async () => {
    const shop = await installed(server);
    await shop.as(undefined, (session) => session.query("create table public.t (id serial)"));
    await days(shop, 10, (session, at) =>
      setval("public.t_id_seq", at < 2 ? 1_000_000_000 : 1000 * at)(session),
    );
    const [key] = await keysOf(shop);
    expect(key).toMatchObject({ verdict: "ends", trend: { samples: 8 } });
    expect(key?.trend?.perDay).toBeCloseTo(1000, 1);
    expect(key?.notes[0]).toMatch(/^its sequence went back on /);
  });

  it("tell transaction ids from real ones", async () => {
    const shop = await installed(server);
    await days(shop, 7, async (session) => {
      for (let count = 0; count < 20; count += 1) await session.query("select pg_current_xact_id()");
    });
    const { forecasts } = await shop.as(shop.names.monitoring, (session) => forecast(session, storage));
    const ids = forecasts.find(({ kind }) => kind === "transaction-ids");
    expect(ids?.verdict).toBe("no-end");
    expect(ids?.trend?.perDay).toBeGreaterThan(20);
    expect(forecasts.find(({ kind }) => kind === "multixact-ids")).toMatchObject({
      verdict: "no-end",
      reason: "none are used",
    });
    expect(forecasts.find(({ kind }) => kind === "storage")?.verdict).toMatch(/ends|no-end/);
  });
});

describe("forecasts as text", () => {
  it("say once what holds for several, and let no name pretend to be a line", () => {
    const unknown = (subject: string): Forecast => ({
      kind: "key",
      subject,
      verdict: "not-assessable",
      reason: "only 1 sample over 0 days; it takes 5 over 6 days",
      used: 1,
      limit: 32_767,
      limitBasis: "the range of smallint",
      notes: [],
    });
    const forecasts = [unknown("shop.a.id"), unknown("shop.b\n.id"), { ...unknown("c.id"), notes: ["odd"] }];
    expect(describeForecasts({ day: "2026-01-31", forecasts, keyColumns: 3 })).toEqual([
      "By what was seen until 2026-01-31:",
      "c.id: not assessable: only 1 sample over 0 days; it takes 5 over 6 days; odd",
      "shop.a.id, shop.b\\n.id: not assessable: only 1 sample over 0 days; it takes 5 over 6 days",
      "3 key columns altogether",
    ]);
  });
});
