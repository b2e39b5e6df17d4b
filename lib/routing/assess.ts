import type { DatabaseConfig } from "../config/schema.ts";
import type { RoutedReplica } from "../ports/routing.ts";
import { bytesText, durationText } from "../words.ts";
import { furthest, type Lsn, walBytesBetween } from "./lsn.ts";
import type { Probe, ReplicaProbe } from "./probe.ts";

/** How one replica is now, without regard to what was decided before. */
export interface Assessment {
  /**
   * `unusable`: not reachable, or not a standby of this primary. `behind`: beyond a limit. `between`: under
   * the limits, not yet under those for coming back. `well`: under both. `unknown`: nobody can tell its lag.
   */
  verdict: "unusable" | "behind" | "between" | "well" | "unknown";
  reason: string;
  lagBytes: number | null;
  lagSeconds: number | null;
  caughtUp: boolean;
}

/** Where the primary's WAL ends, as far as anybody can tell. */
export interface WalEnd {
  lsn: Lsn | null;
  /** False: the primary may have written more, so lag measured against it is only a lower bound. */
  certain: boolean;
  systemIdentifier: string | null;
  timeline: number | null;
  primaryReachable: boolean;
}

/**
 * A stream is silent for at most half of `wal_receiver_timeout` (60 s by default) before the receiver asks;
 * a message older than this comes from a stream that is dead without having noticed.
 */
const deadStreamSeconds = 90;

/** The end of the primary's WAL: from itself, else from what it last told a replica that still streams. */
export function findWalEnd(probe: Probe, knownSystemIdentifier: string | null): WalEnd {
  const { primary } = probe;
  if (primary.walLsn !== null) {
    return {
      lsn: primary.walLsn,
      certain: true,
      systemIdentifier: primary.systemIdentifier,
      timeline: primary.timeline,
      primaryReachable: true,
    };
  }
  const ours = probe.replicas.filter(
    (replica) => replica.problem === null && !isOtherCluster(replica, knownSystemIdentifier),
  );
  const told = furthest(ours.map((replica) => (streams(replica) ? replica.receiver.latestEndLsn : null)));
  const lowerBound = furthest(ours.flatMap((replica) => [replica.receiveLsn, replica.replayLsn, told]));
  return {
    lsn: lowerBound,
    certain: told !== null,
    systemIdentifier: knownSystemIdentifier,
    timeline: null,
    primaryReachable: false,
  };
}

/** Measures one replica against the end of WAL and the limits of the configuration. */
export function assess(
  replica: ReplicaProbe,
  end: WalEnd,
  limits: DatabaseConfig["replicas"],
  previous: RoutedReplica | undefined,
  probedAt: Date,
): Assessment {
  const unusable = whyUnusable(replica, end);
  if (unusable !== undefined) {
    return { verdict: "unusable", reason: unusable, lagBytes: null, lagSeconds: null, caughtUp: false };
  }
  const replayLsn = replica.replayLsn as Lsn;
  const bytes = end.lsn === null ? 0 : Math.max(0, walBytesBetween(replayLsn, end.lsn));
  const caughtUp = end.certain && bytes === 0;
  const lagSeconds = bytes === 0 ? (end.certain ? 0 : null) : outstandingSeconds(replica, previous, probedAt);
  const measured = { lagBytes: end.certain ? bytes : null, lagSeconds, caughtUp };
  const behindBy = [
    bytes > 0 ? `${bytesText(bytes)} of WAL` : undefined,
    lagSeconds !== null && lagSeconds > 0 ? durationText(lagSeconds) : undefined,
  ].filter((part) => part !== undefined);
  const lag = behindBy.length === 0 ? "caught up so far" : `behind by ${behindBy.join(" and ")}`;

  if (replica.replayPaused) {
    return { ...measured, verdict: "behind", reason: `its replay is paused; it is ${lag}` };
  }
  if (bytes > limits.maxLagBytes) {
    return {
      ...measured,
      verdict: "behind",
      reason: `it is ${lag}${streamNote(replica)}; the limit is ${bytesText(limits.maxLagBytes)}`,
    };
  }
  if (lagSeconds !== null && lagSeconds > limits.maxLagSeconds) {
    return {
      ...measured,
      verdict: "behind",
      reason: `it is ${lag}${streamNote(replica)}; the limit is ${durationText(limits.maxLagSeconds)}`,
    };
  }
  if (!end.certain) {
    const since = previous?.caughtUpAt ?? null;
    return {
      ...measured,
      verdict: "unknown",
      reason: `its lag cannot be known while the primary is unreachable and no WAL arrives${
        since === null ? "" : `; it last had everything at ${since}`
      }`,
    };
  }
  const back =
    bytes <= limits.resumeLagBytes && (lagSeconds === null || lagSeconds <= limits.resumeLagSeconds);
  return {
    ...measured,
    verdict: back ? "well" : "between",
    reason: caughtUp
      ? `it has replayed all that the primary has written${streamNote(replica)}`
      : `it is ${lag}, within the limits${streamNote(replica)}`,
  };
}

function whyUnusable(replica: ReplicaProbe, end: WalEnd): string | undefined {
  if (replica.problem !== null) return replica.problem;
  if (isOtherCluster(replica, end.systemIdentifier)) {
    return `it belongs to another cluster (system identifier ${replica.systemIdentifier} instead of ${end.systemIdentifier})`;
  }
  if (streams(replica) && end.timeline !== null && replica.receiver.timeline !== null) {
    const { timeline } = replica.receiver;
    if (timeline !== end.timeline) {
      return `it follows timeline ${timeline}, and the primary is on ${end.timeline}`;
    }
  }
  return replica.replayLsn === null ? "it does not say how far it has replayed" : undefined;
}

function isOtherCluster(replica: ReplicaProbe, systemIdentifier: string | null): boolean {
  return (
    replica.systemIdentifier !== null &&
    systemIdentifier !== null &&
    replica.systemIdentifier !== systemIdentifier
  );
}

function streams(
  replica: ReplicaProbe,
): replica is ReplicaProbe & { receiver: NonNullable<ReplicaProbe["receiver"]> } {
  const { receiver } = replica;
  return (
    receiver?.status === "streaming" &&
    receiver.lastMessageAgeSeconds !== null &&
    receiver.lastMessageAgeSeconds < deadStreamSeconds
  );
}

/** Says that a replica within its limits will not stay there. A receiver we may not look into counts as alive. */
function streamNote(replica: ReplicaProbe): string {
  const { receiver } = replica;
  if (receiver !== null && (receiver.status === null || streams(replica))) return "";
  return receiver === null
    ? ", but it receives no WAL stream"
    : `, but its WAL receiver is ${receiver.status === "streaming" ? "silent" : receiver.status}`;
}

/**
 * For how long WAL has been outstanding, in seconds. The age of the last replayed transaction alone would
 * alarm about a primary that was idle for hours and has just written something; WAL that is outstanding now
 * is also no older than the last time at which none was.
 */
function outstandingSeconds(
  replica: ReplicaProbe,
  previous: RoutedReplica | undefined,
  probedAt: Date,
): number | null {
  const caughtUpAt = previous?.caughtUpAt == null ? Number.NaN : Date.parse(previous.caughtUpAt);
  const sinceCaughtUp = (probedAt.getTime() - caughtUpAt) / 1000;
  const bounds = [replica.lastReplayedAgeSeconds, sinceCaughtUp].filter(
    (bound): bound is number => bound !== null && bound >= 0,
  );
  return bounds.length === 0 ? null : Math.round(Math.min(...bounds) * 1000) / 1000;
}
