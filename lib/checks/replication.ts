import { bytesText, durationText } from "../words.ts";
import type { Check, CheckContext, CheckOutcome, Counters, Finding } from "./check.ts";
import { conclude, metric, whySessionsAreHidden } from "./outcome.ts";
import { assessReceiver } from "./replication-receiver.ts";

interface Sender {
  pid: number;
  application: string;
  client: string | null;
  state: string | null;
  syncState: string | null;
  slot: string | null;
  slotType: string | null;
  sentBytes: number | null;
  writeBytes: number | null;
  flushBytes: number | null;
  replayBytes: number | null;
  /** Position that the standby has replayed, as a number of bytes. */
  replayedTo: number | null;
  replaySeconds: number | null;
}

/** A standby as seen from the server that sends to it. */
interface Standby extends Sender {
  name: string;
  lagSeconds: number;
  /** How long it has replayed nothing although WAL was outstanding. */
  standingStillSeconds: number;
}

/**
 * On a server that sends: each standby's lag in bytes (sent, written, flushed, replayed), its state, and
 * whether its replay stands still. On a standby: receiver and replay apart, see `assessReceiver`.
 * Limits: `replicas.maxLagBytes`, `replicas.maxLagSeconds`.
 *
 * `replay_lag` is kept for a while after a standby has caught up, and does not grow while its replay stands
 * still: so it counts only while bytes are outstanding, and a replay position that has not moved between
 * samples counts for the time it has not.
 */
export const replication: Check = {
  name: "replication",
  title: "Do the standbys keep up?",
  async run(context) {
    const hidden = await whySessionsAreHidden(context.session);
    if (hidden !== undefined) return conclude({ obstacle: hidden });
    const senders = await readSenders(context);
    const { standbys, counters } = followReplay(context, named(senders.filter(isReplica)));
    const asSender: CheckOutcome = conclude({
      findings: standbys.flatMap((standby) => assess(context, standby)),
      counters,
      facts: {
        standbys: standbys.map((standby) => ({
          name: standby.name,
          application: standby.application,
          client: standby.client,
          state: standby.state,
          syncState: standby.syncState,
          slot: standby.slot,
          lagBytes: {
            sent: standby.sentBytes,
            written: standby.writeBytes,
            flushed: standby.flushBytes,
            replayed: standby.replayBytes,
          },
          lagSeconds: Math.round(standby.lagSeconds),
          standingStillSeconds: Math.round(standby.standingStillSeconds),
        })),
        others: senders.filter((sender) => !isReplica(sender)).length,
      },
      metrics: [
        ...(context.session.isStandby ? [] : [metric("ReplicasConnected", standbys.length)]),
        ...standbys.flatMap((standby) => [
          metric("ReplicaLagBytes", standby.replayBytes ?? 0, { Replica: standby.name }),
          metric("ReplicaLagSeconds", Math.round(standby.lagSeconds), { Replica: standby.name }),
        ]),
      ],
    });
    if (!context.session.isStandby) return asSender;
    const asReceiver = await assessReceiver(context);
    return conclude({
      findings: [...asReceiver.findings, ...asSender.findings],
      facts: { ...asSender.facts, ...asReceiver.facts },
      metrics: [...asSender.metrics, ...asReceiver.metrics],
      counters,
      obstacle: asReceiver.reason,
    });
  },
};

function readSenders({ session }: CheckContext): Promise<Sender[]> {
  const position = session.isStandby
    ? "coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())"
    : "pg_current_wal_lsn()";
  // greatest() passes over a null, which is not the same as 0 here.
  const behind = (column: string) =>
    `case when r.${column} is not null then greatest(0, pg_wal_lsn_diff(here.lsn, r.${column})) end::float8`;
  return session.query<Sender>(
    `select r.pid, r.application_name as application, host(r.client_addr) as client, r.state, r.sync_state as "syncState",
            s.slot_name::text as slot, s.slot_type as "slotType",
            ${behind("sent_lsn")} as "sentBytes", ${behind("write_lsn")} as "writeBytes",
            ${behind("flush_lsn")} as "flushBytes", ${behind("replay_lsn")} as "replayBytes",
            pg_wal_lsn_diff(r.replay_lsn, '0/0')::float8 as "replayedTo",
            extract(epoch from r.replay_lag)::float8 as "replaySeconds"
       from (select ${position} as lsn) here, pg_stat_replication r
       left join pg_replication_slots s on s.active_pid = r.pid
      order by r.application_name, r.client_addr, s.slot_name, r.pid`,
  );
}

/** A running base backup is not a replica. A logical subscriber is: it may fall behind as well. */
const isReplica = (sender: Sender): boolean => sender.state !== "backup" && sender.state !== null;

/** Application names may repeat, metrics' dimensions must not: then slot, address or a number is added. */
function named(senders: readonly Sender[]): (Sender & { name: string })[] {
  const taken = new Set<string>();
  const count = (name: string) => senders.filter((sender) => sender.application === name).length;
  return senders.map((sender) => {
    const plain = sender.application === "" ? `pid ${sender.pid}` : sender.application;
    const detail = sender.slot ?? sender.client;
    const base = count(sender.application) > 1 && detail !== null ? `${plain} (${detail})` : plain;
    let name = base;
    for (let number = 2; taken.has(name); number += 1) name = `${base} #${number}`;
    taken.add(name);
    return { ...sender, name };
  });
}

/** Compares each replay position with the previous sample's, and keeps since when one has not moved. */
function followReplay(
  { previous, now }: CheckContext,
  senders: readonly (Sender & { name: string })[],
): { standbys: Standby[]; counters: Counters } {
  const counters: Counters = {};
  const nowSeconds = now.getTime() / 1000;
  const standbys = senders.map((sender) => {
    const positionKey = `replica/${sender.name}/replayedTo`;
    const sinceKey = `replica/${sender.name}/outstandingSince`;
    const outstanding = (sender.replayBytes ?? 0) > 0 && sender.replayedTo !== null;
    let standingStillSeconds = 0;
    if (outstanding) {
      const before = previous?.counters[sinceKey];
      const moved = previous?.counters[positionKey] !== sender.replayedTo;
      const since = moved || before === undefined || before > nowSeconds ? nowSeconds : before;
      counters[positionKey] = sender.replayedTo as number;
      counters[sinceKey] = since;
      standingStillSeconds = nowSeconds - since;
    }
    const lagSeconds = outstanding ? Math.max(sender.replaySeconds ?? 0, standingStillSeconds) : 0;
    return { ...sender, lagSeconds, standingStillSeconds };
  });
  return { standbys, counters };
}

function assess({ config }: CheckContext, standby: Standby): Finding[] {
  const { maxLagBytes, maxLagSeconds } = config.replicas;
  const behind = standby.replayBytes ?? 0;
  if (behind <= maxLagBytes && standby.lagSeconds <= maxLagSeconds) return [];
  const synchronous = standby.syncState === "sync" || standby.syncState === "quorum";
  const still = standby.standingStillSeconds > maxLagSeconds;
  return [
    {
      check: "replication",
      key: `replication/${standby.name}`,
      severity: synchronous ? "high" : "medium",
      confidence: "certain",
      object: { name: standby.name },
      title: `standby ${JSON.stringify(standby.name)} ${still ? `has replayed nothing for ${durationText(standby.standingStillSeconds)} and ` : ""}is behind by ${bytesText(behind)}${standby.lagSeconds > 0 ? `, ${durationText(standby.lagSeconds)}` : ""}`,
      evidence: {
        state: standby.state,
        syncState: standby.syncState,
        sentBytes: standby.sentBytes,
        writtenBytes: standby.writeBytes,
        flushedBytes: standby.flushBytes,
        replayedBytes: standby.replayBytes,
        lagSeconds: Math.round(standby.lagSeconds),
        standingStillSeconds: Math.round(standby.standingStillSeconds),
        limitBytes: maxLagBytes,
        limitSeconds: maxLagSeconds,
      },
      impact: synchronous
        ? "Commits wait for this standby."
        : "Reads there see old data, and a failover to it takes longer.",
      blastRadius: "what reads from this standby",
      remediation: {
        sql: "-- on the standby\nSELECT pg_is_wal_replay_paused(), pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn();\nSELECT pid, query_start, state, left(query, 200) FROM pg_stat_activity WHERE backend_type = 'client backend' ORDER BY query_start;",
        lock: "none",
        rollback:
          "none needed; pg_wal_replay_resume() ends a pause, pg_cancel_backend(pid) a query in the way",
      },
    },
  ];
}
