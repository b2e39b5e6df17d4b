import { literal } from "../postgres/identifiers.ts";
import { bytesText, durationText } from "../words.ts";
import type { Check, CheckContext, Counters, Finding, Severity } from "./check.ts";
import { conclude, metric } from "./outcome.ts";

interface Slot {
  name: string;
  type: string;
  plugin: string | null;
  database: string | null;
  active: boolean;
  temporary: boolean;
  /** Null while it reserves no WAL. */
  retainedBytes: number | null;
  walStatus: string | null;
  /** Bytes that may still be written before it is lost; null when `max_slot_wal_keep_size` sets no limit. */
  safeBytes: number | null;
  xminAge: number | null;
  catalogXminAge: number | null;
  /** Known from 17 on; before, since when pgkeep has seen it inactive. */
  inactiveSeconds: number | null;
  conflicting: boolean | null;
  invalidationReason: string | null;
  /** 17+: copied from the primary for a failover; inactive by design. */
  synced: boolean;
}

/**
 * Slots that nothing reads, that keep much WAL, or that are lost. An abandoned slot keeps WAL until the
 * disk is full, and its xmin keeps VACUUM from removing anything. Limit: `health.slotRetainedBytes`.
 */
export const replicationSlots: Check = {
  name: "replication-slots",
  title: "Does a replication slot keep WAL that nobody reads?",
  async run(context) {
    const slots = await readSlots(context);
    const counters = rememberInactive(context, slots);
    const limit = context.config.health.slotRetainedBytes;
    const inactive = slots.filter((slot) => !slot.active && !slot.synced);
    return conclude({
      findings: slots.flatMap((slot) => assess(slot, limit)),
      counters,
      facts: {
        slots: slots.map(({ name, type, active, retainedBytes, walStatus, inactiveSeconds }) => ({
          name,
          type,
          active,
          retainedBytes,
          walStatus,
          inactiveSeconds: inactiveSeconds === null ? null : Math.round(inactiveSeconds),
        })),
        limitBytes: limit,
      },
      metrics: [
        metric("InactiveReplicationSlots", inactive.length),
        ...slots.map((slot) =>
          metric("ReplicationSlotRetainedBytes", slot.retainedBytes ?? 0, { Slot: slot.name }),
        ),
      ],
    });
  },
};

function readSlots({ session }: CheckContext): Promise<Slot[]> {
  const version = session.serverVersionNumber;
  const position = session.isStandby
    ? "coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())"
    : "pg_current_wal_lsn()";
  return session.query<Slot>(
    `select slot_name::text as name, slot_type as type, plugin::text, database::text, active, temporary,
            case when restart_lsn is not null then greatest(0, pg_wal_lsn_diff(${position}, restart_lsn)) end::float8 as "retainedBytes",
            wal_status as "walStatus", safe_wal_size as "safeBytes",
            age(xmin) as "xminAge", age(catalog_xmin) as "catalogXminAge",
            ${version >= 170_000 ? "extract(epoch from clock_timestamp() - inactive_since)::float8" : "null::float8"} as "inactiveSeconds",
            ${version >= 160_000 ? "conflicting" : "null::boolean"} as conflicting,
            ${version >= 170_000 ? "invalidation_reason" : "null::text"} as "invalidationReason",
            ${version >= 170_000 ? "synced" : "false"} as synced
       from pg_replication_slots where not temporary order by slot_name`,
  );
}

/** Before 17 the server does not say since when a slot is inactive: the samples do. Fills `inactiveSeconds` in. */
function rememberInactive({ previous, now }: CheckContext, slots: Slot[]): Counters {
  const counters: Counters = {};
  const nowSeconds = now.getTime() / 1000;
  for (const slot of slots) {
    if (slot.active || slot.inactiveSeconds !== null) continue;
    const key = `slot/${slot.name}/inactiveSince`;
    const since = Math.min(previous?.counters[key] ?? nowSeconds, nowSeconds);
    counters[key] = since;
    slot.inactiveSeconds = nowSeconds - since;
  }
  return counters;
}

function assess(slot: Slot, limit: number): Finding[] {
  const retained = slot.retainedBytes ?? 0;
  const name = JSON.stringify(slot.name);
  const kept = slot.retainedBytes === null ? "reserves no WAL now" : `keeps ${bytesText(retained)} of WAL`;
  const reason = slot.invalidationReason ?? (slot.conflicting === true ? "conflict with recovery" : null);
  if (slot.walStatus === "lost" || reason !== null) {
    return [
      finding(slot, "high", `slot ${name} is lost (${reason ?? "the WAL it needs was removed"})`, {
        impact:
          "Its consumer cannot go on from it: a standby has to be made again, a subscription copied again.",
        rollback: "none: its position is gone already",
      }),
    ];
  }
  const tooMuch = retained >= limit || slot.walStatus === "unreserved";
  if (!slot.active && !slot.synced) {
    const severity: Severity = tooMuch ? "high" : slot.retainedBytes === null ? "low" : "medium";
    const since = slot.inactiveSeconds === null ? "" : ` for ${durationText(slot.inactiveSeconds)}`;
    return [finding(slot, severity, `nothing has read slot ${name}${since}; it ${kept}`)];
  }
  if (!tooMuch) return [];
  return [finding(slot, "high", `slot ${name} ${kept}: its consumer is far behind`)];
}

function finding(
  slot: Slot,
  severity: Severity,
  title: string,
  say: { impact?: string; rollback?: string } = {},
): Finding {
  const drop = `SELECT pg_drop_replication_slot(${literal(slot.name).trim()});`;
  return {
    check: "replication-slots",
    key: `replication-slots/${slot.name}`,
    severity,
    confidence: "certain",
    object: { name: slot.name },
    title,
    evidence: {
      type: slot.type,
      plugin: slot.plugin,
      database: slot.database,
      active: slot.active,
      retainedBytes: slot.retainedBytes,
      walStatus: slot.walStatus,
      safeBytes: slot.safeBytes,
      xminAge: slot.xminAge,
      catalogXminAge: slot.catalogXminAge,
      inactiveSeconds: slot.inactiveSeconds === null ? null : Math.round(slot.inactiveSeconds),
      conflicting: slot.conflicting,
      invalidationReason: slot.invalidationReason,
    },
    impact:
      say.impact ??
      "WAL is kept until the disk is full and the server stops; rows that became dead since cannot be removed while the slot has an xmin.",
    blastRadius: "the whole server",
    remediation: {
      sql: slot.active ? `-- find out why the consumer is slow first; dropping ends it\n-- ${drop}` : drop,
      lock: "none",
      rollback: say.rollback ?? "none: a consumer that comes back has to be made again",
    },
  };
}
