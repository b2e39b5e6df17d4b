import type { Alarm } from "../alarms/alarm.ts";
import type { Look } from "../alarms/page/look.ts";
import { composePage, type Page } from "../alarms/page/page.ts";
import { lookAt, lookMilliseconds } from "../checks/looks/look-at.ts";
import { systemClock } from "../clock.ts";
import type { JobConfig } from "../config/schema.ts";
import { errorMessage } from "../errors.ts";
import type { Clock } from "../ports/clock.ts";
import type { Session, SessionOptions } from "../ports/databases.ts";
import type { Ports } from "../ports/index.ts";

/** Where docs/runbook.md is, beside the package. */
export const defaultRunbook = "docs/runbook.md";

/** What is looked at: a database, and the replica that an alarm is about. */
export type LookPorts = Pick<Ports, "primary" | "replicas"> & Partial<Pick<Ports, "clock">>;

/** What a look has to know of an alarm. */
export type LookedAt = Pick<Alarm, "entry" | "subject" | "look">;

type Connect = (options: SessionOptions) => Promise<Session>;

/**
 * Looks for the cause of an alarm, as pgkeep_monitoring, at the primary; for an alarm about one replica at that one
 * too. Never throws: why a server could not be reached is a finding like any other.
 */
export async function lookFor(ports: LookPorts, config: JobConfig, alarm: LookedAt): Promise<Look> {
  const clock = ports.clock ?? systemClock;
  const lookedAt = clock.now();
  if (alarm.look.length === 0) return { lookedAt: lookedAt.toISOString(), findings: [], unseen: [] };
  const { primary } = ports;
  const replica = await replicaOf(ports, alarm);
  const looks = await Promise.all([
    ...(replica === undefined ? [] : [lookThrough(replica.connect, replica.name, config, alarm, clock)]),
    ...(primary === undefined
      ? []
      : [lookThrough((options) => primary.connect(options), "the primary", config, alarm, clock)]),
  ]);
  return {
    lookedAt: lookedAt.toISOString(),
    findings: looks.flatMap(({ findings }) => findings),
    unseen: looks.flatMap(({ unseen }) => unseen),
  };
}

async function replicaOf(
  { replicas }: LookPorts,
  { subject }: LookedAt,
): Promise<{ name: string; connect: Connect } | undefined> {
  if (replicas === undefined || subject === undefined) return undefined;
  if (subject.kind !== "replica" && subject.kind !== "reader" && subject.kind !== "server") return undefined;
  const servers = await replicas.list().catch(() => []);
  const found = servers.find(({ name }) => name === subject.name);
  return found && { name: found.name, connect: (options) => found.connect(options) };
}

async function lookThrough(
  connect: Connect,
  server: string,
  config: JobConfig,
  alarm: LookedAt,
  clock: Pick<Clock, "now">,
): Promise<Look> {
  const now = clock.now();
  const signal = AbortSignal.timeout(lookMilliseconds);
  let session: Session;
  try {
    session = await inTime(signal, connect({ role: "monitoring", signal }));
  } catch (error) {
    return unreachable(now, server, error);
  }
  try {
    const look = await lookAt(session, config, alarm, { clock });
    return server === "the primary" ? look : { ...look, findings: look.findings.map(named(server)) };
  } finally {
    await session.close().catch(() => {});
  }
}

function named(server: string): (finding: Look["findings"][number]) => Look["findings"][number] {
  return (finding) => ({
    ...finding,
    text: `on ${server}: ${finding.text}`,
    evidence: { server, ...finding.evidence },
  });
}

/** Who cannot log in knows why applications cannot. */
function unreachable(now: Date, server: string, error: unknown): Look {
  const reason = errorMessage(error);
  return {
    lookedAt: now.toISOString(),
    findings: [
      {
        from: "reachability",
        text: `${server} cannot be reached: ${reason}`,
        evidence: { answers: false, server, reason },
      },
    ],
    unseen: ["nothing could be looked at in the database"],
  };
}

async function inTime(signal: AbortSignal, connecting: Promise<Session>): Promise<Session> {
  const late = new Promise<never>((_, reject) => {
    signal.addEventListener("abort", () => reject(new Error("no answer in time")), { once: true });
  });
  // A session that comes too late is nobody's.
  connecting.then((session) => (signal.aborted ? session.close() : undefined)).catch(() => {});
  return Promise.race([connecting, late]);
}

/** As a watch of alarms tells it: what somebody should know of. */
export interface ToldTransition {
  alarm: Alarm;
  to: "ALARM" | "OK";
  /** When the alarm came into this state. */
  since: Date;
  /** With the newest value, where there is one. */
  evaluation: { value?: number | undefined };
}

/** Everything that a person is told when an alarm changes: with a look at the database when it fires. */
export async function explain(request: {
  environment: { ports: LookPorts; config: JobConfig };
  transition: ToldTransition;
  /** Default: {@link defaultRunbook}. */
  runbook?: string;
}): Promise<Page> {
  const { environment, transition, runbook = defaultRunbook } = request;
  const { ports, config } = environment;
  const { alarm, to, since, evaluation } = transition;
  const look = to === "OK" ? undefined : await lookFor(ports, config, alarm);
  const change = { state: to === "OK" ? "ok" : "alarm", since, value: evaluation.value } as const;
  return composePage({ alarm, config, transition: change, look, runbook });
}
