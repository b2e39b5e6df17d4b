import type { Json } from "../json.ts";
import type { RoutingDocument } from "../ports/routing.ts";
import { decideRouting } from "../routing/decide.ts";
import { type Probe, probeServers } from "../routing/probe.ts";
import { defineJob, done, failed, type StepContext, step } from "./job.ts";

/** What one run of route-replicas did. */
export type RoutingReport = {
  /** False for a dry run, when nothing could be probed, and when another run was faster. */
  published: boolean;
  /** Why it was not published. */
  because: string | null;
  /** What stands now; in a dry run, what would. */
  document: RoutingDocument;
};

const probe = step("probe", {
  where: "database",
  needs: ["primary", "replicas"],
  timeoutSeconds: 30,
  run: async ({
    ports,
    clock,
    deadline,
    progress,
  }: StepContext<Record<string, never>, "primary" | "replicas">) => {
    const seen = await probeServers({
      primary: ports.primary,
      replicas: ports.replicas,
      clock,
      signal: deadline,
    });
    const answered = [seen.primary, ...seen.replicas].filter((server) => server.answered).length;
    progress(`${answered} of ${seen.replicas.length + 1} servers answered`);
    return done(seen);
  },
});

const publish = step("publish", {
  where: "control-plane",
  needs: ["routing"],
  timeoutSeconds: 30,
  run: async (context: StepContext<Probe, "routing">) => {
    const { ports, config, clock, input } = context;
    const previous = await ports.routing.read();
    const document = decideRouting({ probe: input, previous, config, now: clock.now() });
    if (previous !== undefined && document.version === previous.version) {
      return failed(report(false, document.reason, document), document.reason);
    }
    measure(context, document);
    context.progress(document.reason);
    if (context.dryRun) return done(report(false, "dry run", document));
    if (!(await ports.routing.publish(document, previous?.version))) {
      const newer = await ports.routing.read();
      return done(report(false, "another run published meanwhile", newer ?? document));
    }
    return document.basis === "assumed"
      ? failed(report(true, null, document), document.reason)
      : done(report(true, null, document));
  },
});

function report(published: boolean, because: string | null, document: RoutingDocument): Json {
  return { published, because, document } satisfies RoutingReport as unknown as Json;
}

function measure(context: StepContext<Probe, "routing">, document: RoutingDocument): void {
  for (const replica of document.replicas) {
    const dimensions = { Replica: replica.name };
    if (replica.lagBytes !== null) context.measure("ReplicaLagBytes", replica.lagBytes, dimensions);
    if (replica.lagSeconds !== null) context.measure("ReplicaLagSeconds", replica.lagSeconds, dimensions);
    context.measure("ReplicaServing", replica.weight > 0 ? 1 : 0, dimensions);
  }
}

/**
 * Looks at every server, decides which may serve reads, and publishes that. It must work at once
 * while the primary fails over, so nothing is locked: publishing is compare-and-swap, and the slower of two runs yields.
 */
export const routeReplicas = defineJob({
  name: "route-replicas",
  summary: "Publish which servers may serve reads now, and why",
  schedule: "* * * * *",
  lock: "none",
  supportsDryRun: true,
  steps: [probe, publish],
});
