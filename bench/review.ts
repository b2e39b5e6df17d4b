import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "../lib/package-root.ts";
import type { Session } from "../lib/ports/databases.ts";
import { type ConnectionTarget, connect } from "../lib/postgres/connect.ts";
import type { ReviewReport } from "../lib/review/run.ts";
import { type BenchResult, medianSeconds } from "./bench.ts";
import { withServer } from "./server.ts";

const tableCount = 10_000;
const statementCount = 5_000;
const limitSeconds = 10;
const limitMegabytes = 256;
const limitQuerySeconds = 2;

/** `pgkeep review` as a command on 10,000 tables with 30,000 indexes and 5,000 statements: time, memory, longest query. */
export async function benchReview(): Promise<BenchResult> {
  const settings = {
    max_locks_per_transaction: 1_000,
    autovacuum: false,
    fsync: false,
    shared_preload_libraries: "pg_stat_statements",
    "pg_stat_statements.max": 10_000,
  };
  return withServer(17, settings, async (target) => {
    const session = await connect(target, { statementTimeoutMilliseconds: 0 });
    try {
      await createTables(session);
      await session.query("create extension pg_stat_statements schema public");
      await runStatements(session);
      await session.query("create role reviewer login superuser password 'bench'");
      const reviewer = { ...target, user: "reviewer", password: "bench" };
      const { report, seconds, megabytes } = await reviewed(reviewer);
      const [longest] = await session.query<{ seconds: number; query: string }>(
        `select (max_exec_time + max_plan_time) / 1000 as seconds, query from public.pg_stat_statements
          where userid = 'reviewer'::regrole order by 1 desc limit 1`,
      );
      const querySeconds = longest?.seconds ?? Number.NaN;
      const baselineSeconds = await medianSeconds(3, () => plainQueries(reviewer));
      const unseen = report.results.filter(({ reason }) => reason !== undefined);
      const slowest = report.results.toSorted((a, b) => b.durationMs - a.durationMs).slice(0, 5);
      return {
        name: `review of ${tableCount.toLocaleString("en")} tables, ${(3 * tableCount).toLocaleString("en")} indexes, ${statementCount.toLocaleString("en")} statements`,
        baseline: "the same catalogs and views, read plainly",
        baselineSeconds,
        oursSeconds: seconds,
        ratio: seconds / baselineSeconds,
        limit: `≤ ${limitSeconds} s, ${limitMegabytes} MB, no query over ${limitQuerySeconds} s`,
        ok:
          seconds <= limitSeconds &&
          // Where the kernel does not tell, nothing is claimed.
          (megabytes === undefined || megabytes <= limitMegabytes) &&
          querySeconds <= limitQuerySeconds &&
          unseen.every(({ reason }) => !/timeout|the check failed/.test(reason ?? "")),
        note: [
          `${megabytes?.toFixed(0) ?? "unknown"} MB; longest query ${querySeconds.toFixed(2)} s; ${report.results.length} checks, ${
            report.results.flatMap(({ findings }) => findings).length
          } findings`,
          `slowest: ${slowest.map(({ check, durationMs }) => `${check} ${(durationMs / 1000).toFixed(1)} s`).join(", ")}`,
          ...unseen.map(({ check, reason }) => `${check}: ${reason}`),
          `longest query: ${longest?.query.replace(/\s+/g, " ").slice(0, 200)}`,
        ].join("\n  "),
      };
    } finally {
      await session.close();
    }
  });
}

async function createTables(session: Session): Promise<void> {
  for (let first = 0; first < tableCount; first += 500) {
    await session.query(
      `do $$ begin for n in ${first}..${first + 499} loop
         execute format('create table public.t%s (id bigint generated always as identity primary key, parent bigint, note text not null, created_at timestamptz not null default now())', n);
         execute format('create index t%s_parent on public.t%s (parent)', n, n);
         execute format('create index t%s_note on public.t%s (note)', n, n);
         if n %% 2 = 1 then
           execute format('alter table public.t%s add foreign key (parent) references public.t%s', n, n - 1);
         end if;
         execute format('insert into public.t%s (note) select repeat(md5(n::text), 3) from generate_series(1, 20) n', n);
       end loop; end $$`.replaceAll("%%", "%"),
    );
  }
  await session.query("vacuum (analyze)");
}

async function runStatements(session: Session): Promise<void> {
  const kinds = [
    (n: number) => `select * from public.t${n} where note like '%x'`,
    (n: number) => `select id from public.t${n} where lower(note) = 'x' order by created_at limit 10`,
    (n: number) =>
      `select t.* from public.t${n} t join public.t${n + 1} u on u.parent = t.id where u.note = 'x'`,
    (n: number) => `update public.t${n} set note = note where id = 1`,
    (n: number) => `select count(*) from public.t${n} where created_at > now()`,
  ];
  for (let n = 0; n < statementCount / kinds.length; n += 1) {
    for (const kind of kinds) await session.query(kind(n));
  }
}

interface Measured {
  report: ReviewReport;
  seconds: number;
  /** Largest resident set; undefined where there is no /proc. */
  megabytes: number | undefined;
}

async function reviewed(target: ConnectionTarget): Promise<Measured> {
  const url = `postgres://${target.user}:${target.password as string}@${target.host}:${target.port}/${target.database}`;
  const program = join(packageRoot, "dist", "bin", "pgkeep.js");
  const begin = performance.now();
  const child = spawn(process.execPath, [program, "review", "--json", "--url", url], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let megabytes: number | undefined;
  const watch = setInterval(() => {
    megabytes = peakMegabytes(child) ?? megabytes;
  }, 20);
  const chunks: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => void chunks.push(chunk));
  const code = await new Promise((resolve) => child.once("close", resolve));
  clearInterval(watch);
  const seconds = (performance.now() - begin) / 1000;
  const text = Buffer.concat(chunks).toString();
  if (code !== 0) throw new Error(`the review ended with ${String(code)}: ${text.slice(0, 1_000)}`);
  return { report: JSON.parse(text) as ReviewReport, seconds, megabytes };
}

function peakMegabytes(child: ChildProcess): number | undefined {
  try {
    const [, kilobytes] = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${child.pid}/status`, "utf8")) ?? [];
    return kilobytes === undefined ? undefined : Number(kilobytes) / 1024;
  } catch {
    return undefined;
  }
}

async function plainQueries(target: ConnectionTarget): Promise<void> {
  const session = await connect(target);
  try {
    for (const source of [
      "pg_class c left join pg_stat_all_tables s on s.relid = c.oid",
      "pg_index x join pg_stat_all_indexes s using (indexrelid)",
      "pg_constraint",
      "pg_attribute where attrelid >= 16384",
      "pg_stats where schemaname = 'public'",
      "pg_settings",
      "public.pg_stat_statements",
    ]) {
      await session.query(`select * from ${source}`);
    }
  } finally {
    await session.close();
  }
}
