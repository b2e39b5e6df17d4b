import type { DatabaseConfig } from "../config/schema.ts";
import type { ReplicaState, RoutedReplica, RoutingDocument } from "../ports/routing.ts";
import { countText, durationText } from "../words.ts";
import { type Assessment, assess, findWalEnd } from "./assess.ts";
import type { Probe, ReplicaProbe, ServerProbe } from "./probe.ts";
import { validForSeconds } from "./validity.ts";

export interface RoutingInput {
  probe: Probe;
  /** What is published now. */
  previous: RoutingDocument | undefined;
  config: Pick<DatabaseConfig, "key" | "replicas" | "schedules">;
  now: Date;
}

/** Runs come a little early or late; without this share, one that is early costs a whole period. */
const warmUpTolerance = 0.05;

/**
 * Decides which servers may serve reads. Pure: the same input gives the same document.
 *
 * A replica stops serving beyond `maxLag…`, comes back only under `resumeLag…`, and after any absence is
 * watched for `warmUpSeconds` first; the first document of all serves at once what is well. When no replica
 * serves and the primary may not, the least bad one that answers goes on. When no server answers at all, the
 * previous document is returned with `basis` `kept` and must not be published again.
 */
export function decideRouting(input: RoutingInput): RoutingDocument {
  const { probe, previous, config, now } = input;
  if (!probe.primary.answered && probe.replicas.every((replica) => !replica.answered)) {
    return previous === undefined ? assume(input) : keep(previous, probe);
  }
  const systemIdentifier = probe.primary.systemIdentifier ?? previous?.systemIdentifier ?? null;
  const end = findWalEnd(probe, systemIdentifier);
  // A document that was only assumed says nothing about any replica.
  const last = previous?.basis === "assumed" ? undefined : previous;
  const decided = probe.replicas.map((replica) => {
    const before = last?.replicas.find(({ name }) => name === replica.name);
    const assessment = assess(replica, end, config.replicas, before, new Date(probe.probedAt));
    return decideReplica(replica, assessment, before, { ...input, first: last === undefined });
  });
  const primaryMay = end.primaryReachable && config.replicas.primaryServesReads !== "never";
  const forced = !primaryMay && !decided.some(serves) ? serveLeastBad(decided, last, now) : [];
  const replicas = share(decided);
  const serving = replicas.filter(serves).length;
  const servesReads = primaryMay && (config.replicas.primaryServesReads === "always" || serving === 0);
  return {
    formatVersion: 1,
    database: config.key,
    systemIdentifier,
    version: (previous?.version ?? 0) + 1,
    publishedAt: now.toISOString(),
    validForSeconds: validForSeconds(config.schedules, now),
    basis: "probed",
    reason: summary(replicas.length, serving, servesReads, forced),
    primary: {
      ...chooseEndpoint(probe.primary),
      reachable: end.primaryReachable,
      servesReads,
      reason: primaryReason(probe, config.replicas.primaryServesReads, end.primaryReachable, servesReads),
    },
    replicas,
  };
}

function decideReplica(
  probe: ReplicaProbe,
  assessment: Assessment,
  before: RoutedReplica | undefined,
  context: RoutingInput & { first: boolean },
): RoutedReplica {
  const { now, config } = context;
  const next = transition(assessment, before, context);
  const target = chooseEndpoint(probe);
  const poolerNote =
    probe.pooledEndpoint !== null && target.via === "direct" && probe.answered
      ? "; its pooler does not answer, so this is the server's own endpoint"
      : "";
  const watched =
    next.state === "warming"
      ? `; it came back and is watched for ${durationText(config.replicas.warmUpSeconds)} before it serves`
      : next.resuming
        ? `; it serves again once it is under ${durationText(config.replicas.resumeLagSeconds)} and under the resume limit in bytes`
        : "";
  return {
    name: probe.name,
    ...target,
    state: next.state,
    reason: `${assessment.reason}${watched}${poolerNote}`,
    lagBytes: assessment.lagBytes,
    lagSeconds: assessment.lagSeconds,
    caughtUpAt: assessment.caughtUp ? context.probe.probedAt : past(before?.caughtUpAt, now),
    weight: 0,
    since: next.state === before?.state ? (past(before.since, now) ?? now.toISOString()) : now.toISOString(),
  };
}

/** `resuming`: under the limits, and still kept out because it is not yet under those for coming back. */
function transition(
  { verdict }: Assessment,
  before: RoutedReplica | undefined,
  { first, now, config }: RoutingInput & { first: boolean },
): { state: ReplicaState; resuming?: boolean } {
  if (verdict === "unusable") return { state: "unreachable" };
  if (verdict === "behind") return { state: "lagging" };
  if (first || before?.state === "serving") return { state: "serving" };
  if (verdict === "between") return { state: "lagging", resuming: true };
  if (verdict === "unknown" && before?.state === "lagging") return { state: "lagging" };
  const warmUp = config.replicas.warmUpSeconds;
  if (warmUp === 0) return { state: "serving" };
  if (before?.state !== "warming") return { state: "warming" };
  // A negative time means that the clock was set back: `since` starts anew.
  const warmSeconds = (now.getTime() - Date.parse(before.since)) / 1000;
  return { state: warmSeconds >= warmUp * (1 - warmUpTolerance) ? "serving" : "warming" };
}

/** Makes those serve that are merely warming, else the one with the smallest lag. Returns their names. */
function serveLeastBad(
  replicas: RoutedReplica[],
  last: RoutingDocument | undefined,
  now: Date,
): readonly string[] {
  const warming = replicas.filter(({ state }) => state === "warming");
  const lagging = replicas.filter(({ state }) => state === "lagging").sort(bySmallestLag);
  const served = new Map(last?.replicas.filter(serves).map((replica) => [replica.name, replica]));
  // The one that has served so far goes on, unless another is better by far: two that lag alike must not alternate.
  const incumbent = lagging.find(({ name }) => served.has(name));
  const best = lagging[0];
  const lagged =
    incumbent !== undefined && lagOf(incumbent) <= 2 * lagOf(best ?? incumbent) ? incumbent : best;
  const chosen = warming.length > 0 ? warming : lagged === undefined ? [] : [lagged];
  for (const replica of chosen) {
    const before = served.get(replica.name);
    replica.state = "serving";
    replica.since = past(before?.since, now) ?? now.toISOString();
    replica.reason = `no other server may serve: ${replica.reason}`;
  }
  return chosen.map(({ name }) => name);
}

function lagOf(replica: RoutedReplica): number {
  return replica.lagSeconds ?? Number.POSITIVE_INFINITY;
}

function bySmallestLag(a: RoutedReplica, b: RoutedReplica): number {
  const order = (x: number, y: number) => (x === y ? 0 : x < y ? -1 : 1);
  return (
    order(lagOf(a), lagOf(b)) ||
    order(a.lagBytes ?? Number.POSITIVE_INFINITY, b.lagBytes ?? Number.POSITIVE_INFINITY) ||
    order(a.name.length, b.name.length) ||
    (a.name < b.name ? -1 : 1)
  );
}

/** Equal whole shares of 100 among those that serve; the first in the list take the remainder. */
function share(replicas: readonly RoutedReplica[]): RoutedReplica[] {
  const count = replicas.filter(serves).length;
  let given = 0;
  return replicas.map((replica) => {
    if (!serves(replica)) return { ...replica, weight: 0 };
    const weight = Math.floor(100 / count) + (given < 100 % count ? 1 : 0);
    given++;
    return { ...replica, weight };
  });
}

function serves(replica: RoutedReplica): boolean {
  return replica.state === "serving";
}

function chooseEndpoint(probe: ServerProbe): Pick<RoutedReplica, "endpoint" | "via"> {
  const pooled = probe.pooledAnswers === true ? probe.pooledEndpoint : null;
  return pooled === null
    ? { endpoint: { ...probe.endpoint }, via: "direct" }
    : { endpoint: { ...pooled }, via: "pooler" };
}

/** The time when it is not in the future, as it is after the clock was set back. */
function past(time: string | null | undefined, now: Date): string | null {
  return time != null && Date.parse(time) <= now.getTime() ? time : null;
}

function primaryReason(
  { primary }: Probe,
  policy: DatabaseConfig["replicas"]["primaryServesReads"],
  reachable: boolean,
  servesReads: boolean,
): string {
  if (!reachable) return primary.problem ?? "it did not answer";
  const pooler =
    primary.pooledEndpoint !== null && primary.pooledAnswers !== true
      ? "; its pooler does not answer, so this is the server's own endpoint"
      : "";
  const reads =
    policy === "never"
      ? "the configuration keeps reads away from it"
      : servesReads
        ? policy === "always"
          ? "the configuration lets it serve reads"
          : "no replica serves, and it is the last resort"
        : "replicas serve the reads";
  return `${reads}${pooler}`;
}

function summary(
  replicas: number,
  serving: number,
  primaryServes: boolean,
  forced: readonly string[],
): string {
  if (forced.length > 0) {
    return `no server is fit to serve reads; ${forced.join(" and ")} ${forced.length === 1 ? "is" : "are"} the least bad`;
  }
  if (serving > 0) return `${serving} of ${countText(replicas, "replica")} may serve reads`;
  const why = replicas === 0 ? "there is no replica" : `none of ${countText(replicas, "replica")} may serve`;
  return primaryServes ? `${why}, so the primary serves reads` : `${why}, and neither may the primary`;
}

function primaryProblem({ primary }: Probe): string {
  return primary.problem ?? "it did not answer";
}

function keep(previous: RoutingDocument, probe: Probe): RoutingDocument {
  return {
    ...previous,
    basis: previous.basis === "assumed" ? "assumed" : "kept",
    reason: `no server could be probed, so what was decided at ${previous.publishedAt} stands; the primary: ${primaryProblem(probe)}`,
  };
}

function assume({ probe, config, now }: RoutingInput): RoutingDocument {
  return {
    formatVersion: 1,
    database: config.key,
    systemIdentifier: null,
    version: 1,
    publishedAt: now.toISOString(),
    validForSeconds: validForSeconds(config.schedules, now),
    basis: "assumed",
    reason: `no server could be probed, and nothing was decided before; the primary: ${primaryProblem(probe)}`,
    primary: {
      ...chooseEndpoint(probe.primary),
      reachable: false,
      servesReads: false,
      reason: primaryProblem(probe),
    },
    replicas: probe.replicas.map((replica) => ({
      name: replica.name,
      ...chooseEndpoint(replica),
      state: "unreachable",
      reason: replica.problem ?? "it did not answer",
      lagBytes: null,
      lagSeconds: null,
      caughtUpAt: null,
      weight: 0,
      since: now.toISOString(),
    })),
  };
}
