import { beforeAll } from "vitest";
import { systemClock } from "../../lib/clock.ts";
import type { DatabaseConfig } from "../../lib/config/schema.ts";
import { applyInstall } from "../../lib/install/index.ts";
import type { Job, JobResult } from "../../lib/jobs/job.ts";
import { runJob } from "../../lib/jobs/runner.ts";
import type { Backups } from "../../lib/ports/backups.ts";
import type { Endpoint, Session, SessionOptions } from "../../lib/ports/databases.ts";
import type { Ports } from "../../lib/ports/index.ts";
import type { MetricDatum } from "../../lib/ports/metrics.ts";
import { connect } from "../../lib/postgres/connect.ts";
import type { PostgresMajor } from "../../lib/postgres/versions.ts";
import { sandboxBackups } from "../../lib/sandbox/backups.ts";
import { createMasterUser, giveDatabaseToMaster } from "../../lib/sandbox/master.ts";
import { type ArchivedPrimary, useArchivedPrimary } from "./backup-places.ts";
import { configFor } from "./config.ts";

/** A primary with archiving, pgkeep installed by a master user, and a few related tables. */
export interface Shop {
  readonly primary: ArchivedPrimary;
  readonly config: DatabaseConfig;
  readonly backups: Backups;
  readonly ports: Ports & { data: MetricDatum[] };
  run(job: Job, options?: { arguments?: unknown; dryRun?: boolean }): Promise<JobResult>;
  /** Runs statements as superuser on the shop's database. */
  sql<Row = Record<string, unknown>>(...statements: string[]): Promise<Row[]>;
}

const logins = {
  monitoring: { user: "pgkeep_monitoring", password: "monitoring" },
  maintenance: { user: "pgkeep_maintenance", password: "maintenance" },
  drill: { user: "pgkeep_drill", password: "drill" },
};

const tables = `
  create table public.customers (id bigint generated always as identity primary key, name text not null);
  create table public.orders (
    id bigint generated always as identity primary key,
    customer bigint not null references public.customers,
    note text not null default '', placed_at timestamptz not null default clock_timestamp());
  create index orders_by_customer on public.orders (customer);
  create table public.countries (code text primary key, name text not null);
  create unlogged table public.scratch (n int);
  insert into public.customers (name) select 'customer ' || n from generate_series(1, 2000) n;
  insert into public.orders (customer, note) select 1 + n % 2000, repeat('x', 200) from generate_series(1, 5000) n;
  insert into public.countries select 'c' || n, repeat('country ', 40) from generate_series(1, 500) n;
  insert into public.scratch values (1)`;

export function useShop(major?: PostgresMajor, sections: Record<string, unknown> = {}): Shop {
  const primary = useArchivedPrimary(major);
  const config = configFor("shop", sections);
  const data: MetricDatum[] = [];
  let backups: Backups | undefined;
  let ports: Shop["ports"] | undefined;

  beforeAll(async () => {
    const { places } = primary;
    backups = sandboxBackups(places);
    const login = (endpoint: Endpoint, { role, ...options }: SessionOptions): Promise<Session> =>
      connect({ ...endpoint, database: "shop", ...logins[role] }, options);
    const endpoint = { host: "127.0.0.1", port: places.primary.port };
    ports = {
      primary: { endpoint, connect: (options) => login(endpoint, options) },
      restored: { connect: login },
      backups,
      clock: systemClock,
      metrics: { put: async (more) => void data.push(...more) },
      notifications: { send: async () => {} },
      data,
    };
    const superuser = await primary.connect();
    const master = { user: "master", password: "master" };
    await createMasterUser(superuser, master);
    await giveDatabaseToMaster(superuser, master.user);
    const session = await connect({ ...endpoint, database: "shop", ...master });
    await applyInstall(session, config, {
      passwords: Object.fromEntries(Object.values(logins).map(({ user, password }) => [user, password])),
    });
    await session.close();
    await superuser.query(tables);
    await superuser.close();
  });

  return {
    primary,
    config,
    get backups() {
      return backups as Backups;
    },
    get ports() {
      return ports as Shop["ports"];
    },
    run: (job, options = {}) => runJob(job, { ports: ports as Shop["ports"], config, ...options }),
    async sql<Row>(...statements: string[]) {
      const session = await primary.connect();
      try {
        let rows: Row[] = [];
        for (const statement of statements) rows = await session.query<Row>(statement);
        return rows;
      } finally {
        await session.close();
      }
    },
  };
}
