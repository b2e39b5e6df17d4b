import type { DatabaseConfig } from "../../lib/config/schema.ts";
import type { RoutedReplica, RoutingDocument } from "../../lib/ports/routing.ts";
import { decideRouting } from "../../lib/routing/decide.ts";
import type { PrimaryProbe, Probe, ReplicaProbe } from "../../lib/routing/probe.ts";
import { configFor } from "../helpers/config.ts";

/** Where the primary's WAL ends in these probes, in bytes. */
export const walEnd = 0x5_0000_0000;
export const megabyte = 1_048_576;

export function lsn(bytes: number): string {
  const high = Math.floor(bytes / 2 ** 32);
  return `${high.toString(16).toUpperCase()}/${(bytes % 2 ** 32).toString(16).toUpperCase()}`;
}

export function primary(changes: Partial<PrimaryProbe> = {}): PrimaryProbe {
  return {
    endpoint: { host: "primary", port: 5432 },
    pooledEndpoint: null,
    pooledAnswers: null,
    answered: true,
    problem: null,
    systemIdentifier: "71",
    walLsn: lsn(walEnd),
    timeline: 1,
    ...changes,
  };
}

export const deadPrimary = primary({
  answered: false,
  problem: "cannot reach primary:5432",
  systemIdentifier: null,
  walLsn: null,
  timeline: null,
});

export function replica(name: string, changes: Partial<ReplicaProbe> = {}): ReplicaProbe {
  return {
    name,
    endpoint: { host: name, port: 5432 },
    pooledEndpoint: null,
    pooledAnswers: null,
    answered: true,
    problem: null,
    systemIdentifier: "71",
    replayLsn: lsn(walEnd),
    receiveLsn: lsn(walEnd),
    replayPaused: false,
    receiver: { status: "streaming", latestEndLsn: lsn(walEnd), lastMessageAgeSeconds: 1, timeline: 1 },
    lastReplayedAgeSeconds: 2,
    ...changes,
  };
}

/** Behind by so much WAL, whose oldest part is so old. */
export function behind(name: string, bytes: number, seconds: number, changes: Partial<ReplicaProbe> = {}) {
  return replica(name, {
    replayLsn: lsn(walEnd - bytes),
    receiveLsn: lsn(walEnd - bytes),
    lastReplayedAgeSeconds: seconds,
    ...changes,
  });
}

export function dead(name: string, changes: Partial<ReplicaProbe> = {}): ReplicaProbe {
  return replica(name, {
    answered: false,
    problem: `cannot reach ${name}:5432`,
    systemIdentifier: null,
    replayLsn: null,
    receiveLsn: null,
    receiver: null,
    lastReplayedAgeSeconds: null,
    ...changes,
  });
}

/** A series of runs a minute apart, each deciding on top of the last. */
export class Series {
  readonly config: DatabaseConfig;
  now = new Date("2026-01-02T03:00:00.000Z");
  document: RoutingDocument | undefined;

  constructor(replicas: Record<string, unknown> = {}) {
    this.config = configFor("shop", { replicas });
  }

  run(replicas: ReplicaProbe[], primaryProbe = primary(), afterSeconds = 60): RoutingDocument {
    this.now = new Date(this.now.getTime() + afterSeconds * 1000);
    const probe: Probe = { probedAt: this.now.toISOString(), primary: primaryProbe, replicas };
    // What travels between the steps is JSON.
    const input = JSON.parse(JSON.stringify(probe)) as Probe;
    this.document = decideRouting({
      probe: input,
      previous: this.document,
      config: this.config,
      now: this.now,
    });
    return this.document;
  }

  get replicas(): Record<string, RoutedReplica> {
    return Object.fromEntries((this.document?.replicas ?? []).map((replica) => [replica.name, replica]));
  }

  state(name: string): string | undefined {
    return this.replicas[name]?.state;
  }
}
