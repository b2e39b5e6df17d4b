import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { constraintChecks } from "../../../lib/checks/constraints/index.ts";
import { indexChecks } from "../../../lib/checks/indexes/index.ts";
import { partialIndexesBeyond } from "../../../lib/checks/indexes/partial-index-candidates.ts";
import type { Session } from "../../../lib/ports/databases.ts";
import { loadApplication } from "../../../lib/sandbox/application/load.ts";
import { defaultMajor, useServer } from "../../helpers/postgres.ts";
import { flushStatistics, runChecks } from "../../helpers/review.ts";

const checks = [
  ...indexChecks.filter(({ name }) => name !== "partial-index-candidates"),
  partialIndexesBeyond({ leastRows: 100, leastBytes: 1, shortestDays: 0 }),
  ...constraintChecks,
];

describe("sound schemas", () => {
  const server = useServer(defaultMajor);
  let session: Session;
  beforeAll(async () => {
    session = await server.connect(await server.createDatabase());
  });
  afterAll(() => session?.close());

  const found = async () => {
    await session.query("analyze");
    await flushStatistics(session);
    return foundNow();
  };

  const foundNow = async () => {
    const { results } = await runChecks(checks, session);
    return results.flatMap(({ findings }) => findings.map(({ key, severity }) => `${severity} ${key}`));
  };

  it("a database that was just made: nothing", async () => {
    expect(await found()).toEqual([]);
  });

  it("the sandbox's sample application: nothing", async () => {
    await loadApplication(session, { scale: 0.25 });
    await session.query("set search_path = pg_catalog");
    expect(await found()).toEqual([]);
    await session.query("drop schema shop cascade");
  });

  it("pgbench's: only that its history has no key, which is so", async () => {
    await session.query(`
      create table public.pgbench_history (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22));
      create table public.pgbench_tellers (tid int not null, bid int, tbalance int, filler char(84)) with (fillfactor = 100);
      create table public.pgbench_accounts (aid int not null, bid int, abalance int, filler char(84)) with (fillfactor = 100);
      create table public.pgbench_branches (bid int not null, bbalance int, filler char(88)) with (fillfactor = 100);
      insert into public.pgbench_branches select g, 0 from generate_series(1, 1) g;
      insert into public.pgbench_tellers select g, 1, 0 from generate_series(1, 10) g;
      insert into public.pgbench_accounts select g, 1, 0, '' from generate_series(1, 100000) g;
      alter table public.pgbench_branches add primary key (bid);
      alter table public.pgbench_tellers add primary key (tid);
      alter table public.pgbench_accounts add primary key (aid);
    `);
    expect(await found()).toEqual(["low tables-without-primary-key/public.pgbench_history"]);
  });

  it("one of many kinds of tables and indexes: nothing", async () => {
    await session.query("drop schema public cascade");
    await session.query("create schema public");
    await session.query("create extension btree_gin schema public");
    await session.query("create extension pg_trgm schema public");
    await session.query(`
      create type public.mood as enum ('sad', 'ok');
      create domain public.email as text check (value ~ '@');
      create table public.users (
        id bigint generated always as identity primary key, email public.email not null unique, mood public.mood,
        tags text[], body jsonb not null default '{}', span tstzrange, search tsvector
          generated always as (to_tsvector('simple', coalesce(body ->> 'text', ''))) stored,
        deleted_at timestamptz, boss_id bigint references public.users on delete set null);
      create index on public.users using gin (tags);
      create index on public.users using gin (body jsonb_path_ops);
      create index on public.users using gin (search);
      create index on public.users using gist (span);
      create index on public.users using brin (id);
      create index on public.users (boss_id) where boss_id is not null;
      create index on public.users (lower(email::text));
      create index on public.users using gin ((email::text) public.gin_trgm_ops);
      create index on public.users (mood) include (deleted_at) where deleted_at is null;
      create index on public.users (mood, id desc nulls last);
      create table public.bookings (
        room int, during tstzrange not null, user_id bigint not null references public.users,
        primary key (room, user_id), exclude using gist (during with &&));
      create index on public.bookings using hash (user_id);
      create table public.measures (
        id bigint generated always as identity, at timestamptz not null, user_id bigint references public.users,
        status text not null check (status in ('a', 'b')), primary key (id, at)) partition by range (at);
      create table public.measures_1 partition of public.measures for values from ('2026-01-01') to ('2026-02-01');
      create table public.measures_2 partition of public.measures for values from ('2026-02-01') to ('2026-03-01') partition by hash (id);
      create table public.measures_2_0 partition of public.measures_2 for values with (modulus 2, remainder 0);
      create table public.measures_2_1 partition of public.measures_2 for values with (modulus 2, remainder 1);
      create table public.measures_d partition of public.measures default;
      create index on public.measures (user_id, at);
      create index on public.measures_1 (at);
      create table public.base (id int primary key);
      create table public.derived (primary key (id), note text) inherits (public.base);
      create unlogged table public.cache (key text primary key, value bytea);
      create materialized view public.counts as select mood, count(*) from public.users group by mood;
      create unique index on public.counts (mood);
      create table public.comments (id bigint primary key, commentable_type text not null, commentable_id bigint not null);
      create index on public.comments (commentable_type, commentable_id);
      insert into public.users (email, mood, boss_id) select 'u' || g || '@x', 'ok', null from generate_series(1, 20000) g;
      insert into public.measures (at, user_id, status)
      select '2026-01-15'::timestamptz + g * interval '1 minute', g % 1000 + 1, 'a' from generate_series(1, 20000) g;
    `);
    expect(await found()).toEqual([]);
    // Nobody waits behind a queue for a lock, and nobody is the queue.
    const holder = await server.connect(session.database);
    await holder.query("begin");
    await holder.query("lock table public.users, public.measures, public.bookings in access exclusive mode");
    const started = performance.now();
    expect(await foundNow()).toEqual([]);
    expect(performance.now() - started).toBeLessThan(15_000);
    await holder.query("rollback");
    await holder.close();
  });
});
