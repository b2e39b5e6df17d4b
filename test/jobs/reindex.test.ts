import { describe, expect, it } from "vitest";
import type { JobResult } from "../../lib/jobs/job.ts";
import { reindex } from "../../lib/jobs/reindex.ts";
import { runJob } from "../../lib/jobs/runner.ts";
import type { Json } from "../../lib/json.ts";
import type { Session } from "../../lib/ports/databases.ts";
import type { ReindexReport } from "../../lib/reindex/report.ts";
import { configFor } from "../helpers/config.ts";
import { portsFor } from "../helpers/ports.ts";
import { allMajors, defaultMajor, type TestLogin, type TestServer, useServer } from "../helpers/postgres.ts";
import { installed, password } from "../install/installed.ts";

/** Nothing but the job itself may work on the tables here. */
const settings = { autovacuum: "off", max_prepared_transactions: "5" };

interface Options {
  arguments?: unknown;
  dryRun?: boolean;
  login?: TestLogin;
  maintenance?: Record<string, unknown>;
  sections?: Record<string, unknown>;
  signal?: AbortSignal;
  onProgress?: (message: string) => void;
}

async function run(server: TestServer, database: string, options: Options = {}) {
  const { login, maintenance, sections, ...rest } = options;
  const ports = portsFor(server.target(database, login));
  const config = configFor(database, {
    ...sections,
    maintenance: { reindex: { minimumSizeMegabytes: 0, oldTransactionSeconds: 2, ...maintenance } },
  });
  const result = await runJob(reindex, { ports, config, ...rest });
  return { result, report: result.report as unknown as ReindexReport, data: ports.data };
}

function succeeded<T extends { result: JobResult }>(ran: T): T {
  expect(ran.result.error).toBeUndefined();
  expect(ran.result.reason).toBeUndefined();
  expect(ran.result.outcome).toBe("succeeded");
  return ran;
}

const names = (list: { indexes: { schema: string; index: string }[] }) =>
  list.indexes.map((entry) => `${entry.schema}.${entry.index}`);

/** An index of which most entries are gone, and one that is full, on a table with 20,000 rows. */
async function bloatedTable(session: Session, name: string, rows = 20_000): Promise<void> {
  await session.query(`create table ${name} (id int primary key, code text, other int not null)`);
  await session.query(`insert into ${name} select i, md5(i::text), i from generate_series(1, ${rows}) i`);
  await session.query(`create index on ${name} (code)`);
  await session.query(`delete from ${name} where id % 10 <> 0`);
  await session.query(`vacuum (analyze) ${name}`);
  await session.query(`create index on ${name} (other)`);
}

async function indexNames(session: Session): Promise<string[]> {
  const rows = await session.query<{ name: string }>(
    `select i.relname || case when x.indisvalid then '' else ' (invalid)' end as name
       from pg_index x join pg_class i on i.oid = x.indexrelid join pg_namespace n on n.oid = i.relnamespace
      where n.nspname = 'public' order by 1`,
  );
  return rows.map(({ name }) => name);
}

describe.each(allMajors)("reindex on PostgreSQL %i", (major) => {
  const server = useServer(major, { settings });

  it("rebuilds the bloated indexes and no other, and says what that has freed", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await session.query("create extension pgstattuple");
    await bloatedTable(session, "public.orders");
    const before = await indexNames(session);
    const { report, data } = succeeded(await run(server, database));
    expect(names(report.rebuilt).sort()).toEqual(["public.orders_code_idx", "public.orders_pkey"]);
    for (const entry of report.rebuilt.indexes) {
      expect(entry.reason).toMatchObject({ kind: "bloat" });
      expect(entry.bytesAfter).toBeLessThan(entry.bytesBefore * 0.35);
    }
    expect(report.bytesFreed).toBeGreaterThan(500_000);
    expect(await indexNames(session)).toEqual(before);
    expect(data.find((datum) => datum.name === "IndexesRebuilt")?.value).toBe(2);
    const lines = reindex.describe?.(report as unknown as Json) ?? [];
    expect(lines.find((line) => line.includes("orders_code_idx"))).toMatch(
      /^ {2}public\.orders_code_idx: [\d.]+ (KiB|MiB) → [\d.]+ KiB in [\d.]+ s, for [\d.]+ % bloat \(.*, leaf pages [\d.]+ % full\)$/,
    );
    const again = succeeded(await run(server, database));
    expect(names(again.report.rebuilt)).toEqual([]);
    await session.close();
  });
});
