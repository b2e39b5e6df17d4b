import { beforeAll, describe, expect, it } from "vitest";
import type { Manifest } from "../../lib/drill/manifest.ts";
import { type ProvedSoFar, proveSoFar } from "../../lib/drill/prove.ts";
import { backUp } from "../../lib/jobs/back-up.ts";
import { type DrillReport, drillRestore } from "../../lib/jobs/drill-restore.ts";
import { maximumAnswerBytes } from "../../lib/jobs/invocation.ts";
import { runOneStep } from "../../lib/jobs/run-one-step.ts";
import type { Json } from "../../lib/json.ts";
import type { Endpoint } from "../../lib/ports/databases.ts";
import { connect } from "../../lib/postgres/connect.ts";
import { useShop } from "../helpers/shop.ts";
import { restoreToEnd } from "../ports/backups.contract.ts";

describe("proving in several executions", () => {
  const shop = useShop();
  let backupId = "";
  let endpoint: Endpoint;

  beforeAll(async () => {
    // Many objects, and a table that takes longer to read than all others.
    await shop.sql(
      ...Array.from(
        { length: 40 },
        (_, n) => `create table public.many_${n} as select n from generate_series(1, 500) n`,
      ),
      "create table public.large as select n from generate_series(1, 5000) n",
      "analyze",
      // Reading takes time, as it does where there is much to read.
      "alter function pgkeep.check_heap(regclass) rename to check_heap_fast",
      `create function pgkeep.check_heap(relation regclass)
       returns table (block bigint, item integer, attribute integer, problem text)
       language plpgsql security definer as $$
       begin
         perform pg_sleep(case when relation = 'public.large'::regclass then 1.2 else 0.005 end);
         return query select * from pgkeep.check_heap_fast(relation);
       end $$`,
      "grant execute on function pgkeep.check_heap(regclass) to pgkeep_drill",
    );
    await shop.run(backUp);
    backupId = (await shop.backups.list())[0]?.id ?? "";
    ({ endpoint } = await restoreToEnd(shop.backups, {
      name: "stretched",
      target: { kind: "backup", backupId },
    }));
    return () => shop.backups.discard("stretched");
  }, 120_000);

  /** One execution after the other, each with so much time, and its state as JSON between. */
  async function executions(milliseconds: number, more: { atMostMilliseconds?: number } = {}) {
    let resume: Json | undefined;
    const startedAt = new Date();
    for (let count = 1; count < 2_000; count += 1) {
      const until = performance.now() + milliseconds;
      const drill = { user: "pgkeep_drill", password: "drill", database: "shop" };
      const result: ProvedSoFar = await proveSoFar({
        connectRestored: () => connect({ ...endpoint, ...drill }, { statementTimeoutMilliseconds: 0 }),
        connectPrimary: () =>
          connect(
            { ...shop.primary.places.primary, host: "127.0.0.1", ...drill },
            { statementTimeoutMilliseconds: 0 },
          ),
        backupId,
        database: "shop",
        startedAt,
        now: () => new Date(),
        timeLeft: () => until - performance.now(),
        resume,
        ...more,
      });
      if (result.kind === "proved") return { proved: result.proved, count };
      const text = JSON.stringify(result.state);
      expect(text.length).toBeLessThan(maximumAnswerBytes);
      resume = JSON.parse(text) as Json;
    }
    throw new Error("it never ends");
  }

  it("comes to the same result as one that is not interrupted", async () => {
    const whole = await executions(600_000);
    expect(whole.count).toBe(1);
    const cut = await executions(2_500);
    expect(cut.count).toBeGreaterThan(1);
    const comparable = ({ proved }: typeof whole) => ({
      ...proved,
      rtoSeconds: 0,
      rpoSeconds: 0,
      proofs: proved.proofs.filter(({ name }) => name !== "data-loss"),
    });
    expect(comparable(cut)).toEqual(comparable(whole));
    expect(cut.proved.proofs.every(({ ok }) => ok)).toBe(true);
    expect(cut.proved.tablesProved).toBe(44);
  }, 120_000);

  it("says what did not fit into a whole execution, and proves the rest", async () => {
    const { proved, count } = await executions(700);
    expect(count).toBeGreaterThan(3);
    const unread = proved.notAssessable.filter((gap) => gap.includes("takes longer than one execution"));
    expect(unread.join()).toContain("large");
    expect(proved.proofs.filter(({ ok }) => !ok)).toEqual([]);
    expect(proved.tablesProved).toBeGreaterThan(20);
  }, 120_000);

  it("ends when the time of all together is over, and counts nothing as proved that it did not reach", async () => {
    const { proved } = await executions(60_000, { atMostMilliseconds: 0 });
    expect(proved.tablesProved).toBe(0);
    expect(proved.notAssessable.join()).toContain("the time for proving");
    expect(proved.proofs.find(({ name }) => name === "something-proved")).toMatchObject({ ok: false });
  });

  it("is how the drill's step uses short functions", async () => {
    const trigger = {};
    const run = { id: "stretched", startedAt: new Date().toISOString() };
    let resume: Json | null = null;
    for (let count = 1; ; count += 1) {
      const until = performance.now() + 2_500;
      const { answer } = await runOneStep(
        drillRestore,
        "prove",
        {
          run,
          trigger,
          input: {
            instance: "stretched",
            endpoint: { host: endpoint.host, port: endpoint.port },
            backupId,
            target: { kind: "latest" },
            restoredTo: null,
          },
          resume,
          failure: null,
        },
        { ports: shop.ports, config: shop.config, timeLeft: () => until - performance.now() },
      );
      if (answer.kind === "again") {
        resume = answer.state;
        continue;
      }
      expect(count).toBeGreaterThan(1);
      const report = answer.output as unknown as DrillReport;
      expect(report.tablesProved).toBe(44);
      expect(report.rtoSeconds).toBeLessThan(2.5);
      return;
    }
  }, 120_000);
});

describe("describing the data in several executions", () => {
  const shop = useShop();
  const readingTakes = (seconds: number) => [
    `create or replace function pgkeep.table_hash(relation regclass) returns text language plpgsql security definer as $$
     begin
       perform pg_sleep(${seconds});
       return pgkeep.table_hash_fast(relation);
     end $$`,
    "grant execute on function pgkeep.table_hash(regclass) to pgkeep_drill, pgkeep_monitoring",
  ];

  it("reads each table once, keeps what it has at each end, and a drill believes it", async () => {
    await shop.sql(
      ...Array.from(
        { length: 12 },
        (_, n) => `create table public.many_${n} as select n from generate_series(1, 100) n`,
      ),
      "create table public.sixteenth (n int)",
      "alter function pgkeep.table_hash(regclass) rename to table_hash_fast",
    );
    await shop.sql(...readingTakes(0.3));
    const run = { id: "described", startedAt: new Date().toISOString() };
    const stored = async () =>
      (await shop.sql<{ manifest: Manifest }>("select manifest from pgkeep.backup_manifest"))[0]?.manifest;
    const read = (manifest: Manifest | undefined) =>
      manifest?.tables.filter(({ rows }) => rows !== undefined).length ?? 0;
    const progress: number[] = [];
    let resume: Json | null = null;
    for (;;) {
      const until = performance.now() + 2_000;
      const { answer } = await runOneStep(
        backUp,
        "describe",
        { run, trigger: {}, input: null, resume, failure: null },
        { ports: shop.ports, config: shop.config, timeLeft: () => until - performance.now() },
      );
      const manifest = await stored();
      progress.push(read(manifest));
      // Partial, and says so.
      expect(read(manifest) + (manifest?.unread.length ?? 0)).toBe(manifest?.tables.length);
      if (answer.kind !== "again") {
        expect(answer).toMatchObject({
          kind: "done",
          output: { manifest: { tables: 16, counted: 16, unread: 0 } },
        });
        break;
      }
      resume = answer.state;
    }
    expect(progress.length).toBeGreaterThan(2);
    expect(progress).toEqual([...progress].sort((a, b) => a - b));
    expect(progress.at(-1)).toBe(16);
    await shop.sql(...readingTakes(0));
    expect(await shop.run(backUp)).toMatchObject({ outcome: "succeeded" });
    const drill = await shop.run(drillRestore);
    expect(drill).toMatchObject({ outcome: "succeeded", report: { tablesProved: 16, notAssessable: [] } });
  }, 120_000);

  it("ends when it gets no further, with what it has", async () => {
    await shop.sql(...readingTakes(0.3));
    const run = { id: "stuck", startedAt: "2020-01-01T00:00:00Z" };
    let resume: Json | null = null;
    for (let count = 1; ; count += 1) {
      const { answer } = await runOneStep(
        backUp,
        "describe",
        { run, trigger: {}, input: null, resume, failure: null },
        { ports: shop.ports, config: shop.config, timeLeft: () => 100 },
      );
      expect(count).toBeLessThan(4);
      if (answer.kind === "again") {
        resume = answer.state;
        continue;
      }
      expect(answer).toMatchObject({ kind: "done", output: { manifest: { counted: 0, unread: 16 } } });
      expect(JSON.stringify(answer.output)).toContain("budget");
      return;
    }
  });
});
