import { bytesText, durationText } from "../words.ts";
import type { CheckContext, CheckOutcome, Finding } from "./check.ts";
import { conclude } from "./outcome.ts";

interface Receiver {
  status: string | null;
  senderHost: string | null;
  slot: string | null;
  /** Time since anything, also a keep-alive, came from the sender. */
  silentSeconds: number | null;
  timeoutSeconds: number;
  receivedLsn: string | null;
  replayedLsn: string | null;
  /** WAL that the sender is known to have and this server has not replayed. */
  outstandingBytes: number | null;
  lastTransactionSeconds: number | null;
  pauseState: string;
  /** Empty on a server that recovers from an archive only; null when this role may not see it. */
  primaryConnection: string | null;
}

/**
 * A standby about itself: the receiver (does WAL come in?) and the replay (is it applied?) apart. The age
 * of the last replayed transaction is lag only while WAL is outstanding: on an idle primary it grows with
 * nothing wrong. "Received = replayed" says nothing while the stream is dead.
 */
export async function assessReceiver(context: CheckContext): Promise<CheckOutcome> {
  const [receiver] = await context.session.query<Receiver>(
    `select r.status, r.sender_host as "senderHost", r.slot_name::text as slot,
            extract(epoch from clock_timestamp() - r.last_msg_receipt_time)::float8 as "silentSeconds",
            (select setting::float8 / 1000 from pg_settings where name = 'wal_receiver_timeout') as "timeoutSeconds",
            pg_last_wal_receive_lsn()::text as "receivedLsn", pg_last_wal_replay_lsn()::text as "replayedLsn",
            case when coalesce(r.latest_end_lsn, pg_last_wal_receive_lsn()) is not null
              then greatest(0, pg_wal_lsn_diff(greatest(r.latest_end_lsn, pg_last_wal_receive_lsn()), pg_last_wal_replay_lsn()))
            end::float8 as "outstandingBytes",
            extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp())::float8 as "lastTransactionSeconds",
            pg_get_wal_replay_pause_state() as "pauseState",
            (select setting from pg_settings where name = 'primary_conninfo') as "primaryConnection"
       from (select 1) as one left join pg_stat_wal_receiver r on true`,
  );
  if (receiver === undefined) throw new Error("the standby described itself with no row");
  const streaming = receiver.status === "streaming" && !isSilent(receiver);
  const outstanding = receiver.outstandingBytes ?? 0;
  const lagSeconds = !streaming
    ? null
    : outstanding === 0
      ? 0
      : Math.round(receiver.lastTransactionSeconds ?? 0);
  return conclude({
    findings: [
      ...noStream(receiver, streaming),
      ...paused(receiver, outstanding),
      ...behind(context, outstanding, lagSeconds),
    ],
    facts: {
      receiver: {
        // The connection string stays out: it may hold a password.
        state: receiver.status ?? "not running",
        senderHost: receiver.senderHost,
        slot: receiver.slot,
        silentSeconds: receiver.silentSeconds === null ? null : Math.round(receiver.silentSeconds),
        receivedLsn: receiver.receivedLsn,
      },
      replay: {
        state: receiver.pauseState,
        replayedLsn: receiver.replayedLsn,
        outstandingBytes: receiver.outstandingBytes,
        lastTransactionSeconds:
          receiver.lastTransactionSeconds === null ? null : Math.round(receiver.lastTransactionSeconds),
        lagSeconds,
      },
    },
  });
}

/** The receiver gives up after `wal_receiver_timeout` by itself; with that switched off, a minute is long. */
function isSilent(receiver: Receiver): boolean {
  const limit = receiver.timeoutSeconds > 0 ? receiver.timeoutSeconds : 60;
  return (receiver.silentSeconds ?? 0) > limit;
}

function noStream(receiver: Receiver, streaming: boolean): Finding[] {
  if (streaming || receiver.primaryConnection === "") return [];
  return [
    {
      check: "replication",
      key: "replication/receiver",
      severity: "high",
      confidence: "certain",
      object: {},
      title: isSilent(receiver)
        ? `this standby has heard nothing from its primary for ${durationText(receiver.silentSeconds ?? 0)}`
        : `this standby receives nothing from its primary (receiver: ${receiver.status ?? "not running"})`,
      evidence: {
        receiver: receiver.status ?? "not running",
        silentSeconds: receiver.silentSeconds === null ? null : Math.round(receiver.silentSeconds),
        receivedLsn: receiver.receivedLsn,
        replayedLsn: receiver.replayedLsn,
      },
      impact: "Its data grows old, whatever its replay says, and it is no use for a failover.",
      blastRadius: "what reads from this standby",
      remediation: {
        sql: "-- on the primary: is the slot there, and is it still valid?\nSELECT slot_name, active, wal_status FROM pg_replication_slots;",
        lock: "none",
        rollback: "none needed; a standby whose WAL is gone has to be made again",
      },
    },
  ];
}

function paused(receiver: Receiver, outstanding: number): Finding[] {
  if (receiver.pauseState === "not paused") return [];
  return [
    {
      check: "replication",
      key: "replication/replay-paused",
      severity: "high",
      confidence: "certain",
      object: {},
      title: `replay is paused on this standby (${bytesText(outstanding)} wait)`,
      evidence: {
        pauseState: receiver.pauseState,
        outstandingBytes: outstanding,
        replayedLsn: receiver.replayedLsn,
      },
      impact: "Reads here see old data; WAL that was received fills the disk.",
      blastRadius: "what reads from this standby",
      remediation: {
        sql: "SELECT pg_wal_replay_resume();",
        lock: "none",
        rollback: "SELECT pg_wal_replay_pause();",
      },
    },
  ];
}

function behind({ config }: CheckContext, outstanding: number, lagSeconds: number | null): Finding[] {
  const { maxLagBytes, maxLagSeconds } = config.replicas;
  if (outstanding <= maxLagBytes && (lagSeconds ?? 0) <= maxLagSeconds) return [];
  return [
    {
      check: "replication",
      key: "replication/replay",
      severity: "medium",
      confidence: "certain",
      object: {},
      title: `this standby's replay is behind by ${bytesText(outstanding)}${lagSeconds === null ? "" : `, ${durationText(lagSeconds)}`}`,
      evidence: {
        outstandingBytes: outstanding,
        lagSeconds,
        limitBytes: maxLagBytes,
        limitSeconds: maxLagSeconds,
      },
      impact: "Reads here see old data, and a failover to it takes longer.",
      blastRadius: "what reads from this standby",
      remediation: {
        sql: "SELECT pid, query_start, state, left(query, 200) FROM pg_stat_activity WHERE backend_type = 'client backend' ORDER BY query_start;",
        lock: "none",
        rollback: "none needed; pg_cancel_backend(pid) ends a query that replay waits for",
      },
    },
  ];
}
