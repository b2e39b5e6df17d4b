import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import { systemClock } from "../../lib/clock.ts";
import type { Replicas } from "../../lib/ports/databases.ts";
import { connect } from "../../lib/postgres/connect.ts";
import { decideRouting } from "../../lib/routing/decide.ts";
import { probeServers } from "../../lib/routing/probe.ts";
import { configFor } from "../helpers/config.ts";
import { useServer } from "../helpers/postgres.ts";

/**
 * Two databases of a real server play writer and reader: each has the functions that Aurora has in pg_catalog,
 * with the columns that its documentation lists, over a table that says what the cluster looks like.
 */
describe("an Aurora cluster", () => {
  const server = useServer();
  let writer: string;
  let reader: string;

  const setUp = async (database: string, identifier: string) => {
    const session = await server.connect(database);
    for (const statement of [
      `create table public.cluster (server_id text, session_id text, durable_lsn numeric, highest_lsn_rcvd numeric, replica_lag_in_msec float8)`,
      `create function pg_catalog.aurora_db_instance_identifier() returns text language sql as $$ select '${identifier}' $$`,
      `create function pg_catalog.aurora_replica_status(
         out server_id text, out session_id text, out durable_lsn numeric, out highest_lsn_rcvd numeric,
         out current_read_lsn numeric, out cur_replay_latency_in_usec float8, out active_txns int, out is_current bool,
         out last_transport_error int, out last_error_timestamp timestamptz, out last_update_timestamp timestamptz,
         out feedback_xmin bigint, out feedback_epoch bigint, out replica_lag_in_msec float8)
       returns setof record language sql as $$
         select c.server_id, c.session_id, c.durable_lsn, c.highest_lsn_rcvd, null::numeric, null::float8, 0, true, 0,
                null::timestamptz, null::timestamptz, 0::bigint, 0::bigint, c.replica_lag_in_msec
         from public.cluster c $$`,
      // Aurora does not have what is known of standbys.
      `create or replace function pg_catalog.pg_is_wal_replay_paused() returns bool language plpgsql
       as $$ begin raise exception 'not supported for Aurora' using errcode = '0A000'; end $$`,
    ]) {
      await session.query(statement);
    }
    await session.close();
  };

  const clusterIs = async (...rows: [string, string, number, number, number | null][]) => {
    for (const database of [writer, reader]) {
      const session = await server.connect(database);
      await session.query("truncate public.cluster");
      for (const row of rows) {
        await session.query("insert into public.cluster values ($1, $2, $3, $4, $5)", row);
      }
      await session.close();
    }
  };

  beforeAll(async () => {
    writer = await server.createDatabase();
    reader = await server.createDatabase();
    await setUp(writer, "shop-primary");
    await setUp(reader, "shop-replica-1");
  });

  beforeEach(() =>
    clusterIs(
      ["shop-primary", "MASTER_SESSION_ID", 0x5_0000_0000, 0x5_0000_0000, null],
      ["shop-replica-1", "1a2b3c4d-uuid", 0x5_0000_0000, 0x5_0000_0000, 12],
      ["shop-replica-2", "5e6f7a8b-uuid", 5, 5, 90_000],
    ),
  );

  const probe = (writerIs = writer) => {
    const replicas: Replicas = {
      list: async () => [
        {
          name: "replica-1",
          endpoint: { host: "replica-1", port: 5432 },
          connect: (options) => connect(server.target(reader), options),
        },
      ],
      answers: async () => true,
    };
    return probeServers({
      primary: {
        endpoint: { host: "primary", port: 5432 },
        connect: (options) => connect(server.target(writerIs), options),
      },
      replicas,
      clock: systemClock,
      signal: new AbortController().signal,
    });
  };
  const decide = async (changes: Record<string, unknown> = {}, writerIs = writer) =>
    decideRouting({
      probe: await probe(writerIs),
      previous: undefined,
      config: configFor("shop", { replicas: changes }),
      now: new Date(),
    });

  it("is asked in its own way, and a reader that keeps up serves", async () => {
    const seen = await probe();
    expect(seen.primary).toMatchObject({ answered: true, problem: null, walLsn: "5/0", timeline: null });
    expect(seen.replicas[0]).toMatchObject({ answered: true, problem: null, replayLsn: "5/0" });
    const document = await decide();
    expect(document.replicas[0]).toMatchObject({ state: "serving", weight: 100, lagBytes: 0, lagSeconds: 0 });
    expect(document.primary.reachable).toBe(true);
  });

  it("tells a reader's lag as Aurora measures it, and takes it out beyond the limit", async () => {
    await clusterIs(
      ["shop-primary", "MASTER_SESSION_ID", 0x5_0000_0400, 0x5_0000_0400, null],
      ["shop-replica-1", "uuid", 0x5_0000_0000, 0x5_0000_0200, 45_000],
    );
    const { replicas } = await decide({ maxLagSeconds: 30, resumeLagSeconds: 5 });
    expect(replicas[0]).toMatchObject({ state: "lagging", lagBytes: 1_024 });
    expect(replicas[0]?.lagSeconds).toBeCloseTo(45, 0);
    expect((await decide({ maxLagSeconds: 60, resumeLagSeconds: 50 })).replicas[0]?.state).toBe("serving");
  });

  it("does not let a reader serve that the cluster does not know, or that was promoted", async () => {
    await clusterIs(["shop-primary", "MASTER_SESSION_ID", 100, 100, null]);
    expect((await decide()).replicas[0]).toMatchObject({
      state: "unreachable",
      reason: expect.stringContaining("does not say how far"),
    });
    await clusterIs(
      ["shop-primary", "uuid", 100, 100, 5],
      ["shop-replica-1", "MASTER_SESSION_ID", 100, 100, null],
    );
    const { primary, replicas } = await decide();
    expect(replicas[0]).toMatchObject({
      state: "unreachable",
      reason: expect.stringContaining("takes writes"),
    });
    expect(primary.reachable).toBe(false);
  });

  it("takes a position that is no position for unknown", async () => {
    await clusterIs(
      ["shop-primary", "MASTER_SESSION_ID", 100, 100, null],
      ["shop-replica-1", "uuid", -1, -1, -1],
    );
    expect((await probe()).replicas[0]).toMatchObject({ replayLsn: null, lastReplayedAgeSeconds: null });
  });
});
