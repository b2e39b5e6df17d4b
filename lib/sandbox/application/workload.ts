import { setTimeout as delay } from "node:timers/promises";
import { errorMessage, PgkeepError } from "../../errors.ts";
import type { Endpoint } from "../../ports/databases.ts";
import type { RoutingDocument } from "../../ports/routing.ts";
import type { Login } from "../state.ts";
import { Connections } from "./connections.ts";
import { type Operation, readShopSize, reads, reports, type ShopSize, writes } from "./operations.ts";
import { type Random, seededRandom } from "./random.ts";

export interface WorkloadOptions {
  database: string;
  /** Where writes go until a routing document names the primary. */
  primary: Endpoint;
  logins: { writer: Login; reporting: Login };
  /** The published routing document, as an application would fetch it; asked at most once a second. */
  routing(): Promise<RoutingDocument | undefined>;
  /** Operations per second of all clients together. Default 20; `Infinity` for as fast as possible. */
  ratePerSecond?: number;
  /** Independent users of the shop, each with connections of its own. Default 4. */
  clients?: number;
  /** Decides which operations come, on which customers. Default 1. */
  seed?: number;
  signal?: AbortSignal;
}

export interface WorkloadCounters {
  writes: number;
  reads: number;
  reports: number;
  /** Operations that failed; they are not in the other counts. */
  errors: number;
  /** By `host:port`. */
  byEndpoint: Record<string, { operations: number; errors: number }>;
  lastError: { at: string; operation: string; endpoint: string; message: string } | null;
}

export interface Workload {
  counters(): WorkloadCounters;
  /** Interrupts what is running, closes every connection, and gives the final counts. */
  stop(): Promise<WorkloadCounters>;
}

type Kind = "writes" | "reads" | "reports";
const operations = { writes, reads, reports } as const;

/** Uses the shop as its customers and clerks would until it is stopped, whatever happens to the servers. */
export function startWorkload(options: WorkloadOptions): Workload {
  const run = new WorkloadRun(options);
  const ended = run.run(Number.POSITIVE_INFINITY);
  // Whoever stops it is told.
  ended.catch(() => {});
  return {
    counters: () => run.counters(),
    stop: async () => {
      run.interrupt();
      await ended;
      return run.counters();
    },
  };
}

/**
 * Uses the shop until so many operations were tried, or so many seconds have passed, whichever comes first;
 * as fast as possible unless a rate is given.
 */
export async function runWorkload(
  options: WorkloadOptions & { operations?: number; seconds?: number },
): Promise<WorkloadCounters> {
  const run = new WorkloadRun({ ratePerSecond: Number.POSITIVE_INFINITY, ...options });
  const timer = setTimeout(() => run.interrupt(), (options.seconds ?? 10) * 1_000);
  try {
    await run.run(options.operations ?? Number.POSITIVE_INFINITY);
  } finally {
    clearTimeout(timer);
  }
  options.signal?.throwIfAborted();
  return run.counters();
}

class WorkloadRun {
  private readonly options: WorkloadOptions;
  private readonly stopping = new AbortController();
  private readonly signal: AbortSignal;
  private readonly counts: WorkloadCounters = {
    writes: 0,
    reads: 0,
    reports: 0,
    errors: 0,
    byEndpoint: {},
    lastError: null,
  };
  private left = 0;
  private shop: ShopSize | undefined;
  private document: Promise<RoutingDocument | undefined> = Promise.resolve(undefined);
  private documentAskedAt = Number.NEGATIVE_INFINITY;

  constructor(options: WorkloadOptions) {
    this.options = options;
    this.signal =
      options.signal === undefined
        ? this.stopping.signal
        : AbortSignal.any([options.signal, this.stopping.signal]);
  }

  interrupt(): void {
    this.stopping.abort(new PgkeepError("deadline", "the workload was stopped"));
  }

  counters(): WorkloadCounters {
    return structuredClone(this.counts);
  }

  async run(total: number): Promise<void> {
    this.left = total;
    const clients = this.options.clients ?? 4;
    const seed = this.options.seed ?? 1;
    await Promise.all(
      Array.from({ length: clients }, (_, number) =>
        this.client(seededRandom(seed * 1_000 + number), clients),
      ),
    );
  }

  private async client(random: Random, clients: number): Promise<void> {
    const connections = new Connections(this.options.database, this.signal);
    const pauseMilliseconds = (1_000 * clients) / (this.options.ratePerSecond ?? 20);
    try {
      while (!this.signal.aborted && this.left > 0) {
        this.left--;
        await this.operate(connections, random);
        if (pauseMilliseconds > 0)
          await delay(pauseMilliseconds * (0.5 + random.fraction()), undefined, { signal: this.signal });
      }
    } catch (error) {
      if (!this.signal.aborted) throw error;
    } finally {
      await connections.close();
    }
  }

  private async operate(connections: Connections, random: Random): Promise<void> {
    const draw = random.fraction();
    const kind: Kind = draw < 0.4 ? "writes" : draw < 0.95 ? "reads" : "reports";
    const operation: Operation = random.pick(operations[kind]);
    const endpoint = await this.endpointFor(kind, connections, random);
    if (endpoint === undefined) {
      await delay(100, undefined, { signal: this.signal });
      this.failed(operation.name, "none", new Error("the routing document names no server for reads"));
      return;
    }
    const { writer, reporting } = this.options.logins;
    const name = `${endpoint.host}:${endpoint.port}`;
    try {
      await connections.use(endpoint, kind === "reports" ? reporting : writer, async (session) => {
        this.shop ??= await readShopSize(session);
        await operation.run(session, random, this.shop);
      });
      this.counts[kind]++;
      this.at(name).operations++;
    } catch (error) {
      if (this.signal.aborted) throw error;
      this.failed(operation.name, name, error);
      this.at(name).errors++;
    }
  }

  private at(name: string): { operations: number; errors: number } {
    this.counts.byEndpoint[name] ??= { operations: 0, errors: 0 };
    return this.counts.byEndpoint[name];
  }

  private failed(operation: string, endpoint: string, error: unknown): void {
    this.counts.errors++;
    this.counts.lastError = {
      at: new Date().toISOString(),
      operation,
      endpoint,
      message: errorMessage(error),
    };
  }

  /** Writes go to the primary; reads and reports where the routing document sends them. */
  private async endpointFor(
    kind: Kind,
    connections: Connections,
    random: Random,
  ): Promise<Endpoint | undefined> {
    const document = await this.routing();
    if (document === undefined) return this.options.primary;
    if (kind === "writes") return document.primary.endpoint;
    const serving = document.replicas.filter((replica) => replica.weight > 0);
    // One that just failed is asked again after its pause; until then the others take its share.
    const willing = serving.filter((replica) => !connections.isPausing(replica.endpoint));
    const chosen = byWeight(willing.length > 0 ? willing : serving, random);
    if (chosen !== undefined) return chosen.endpoint;
    return document.primary.servesReads ? document.primary.endpoint : undefined;
  }

  /** All clients share one answer for a second; when none comes, the last one stands. */
  private routing(): Promise<RoutingDocument | undefined> {
    if (performance.now() - this.documentAskedAt > 1_000) {
      this.documentAskedAt = performance.now();
      const last = this.document;
      this.document = this.options.routing().catch((error: unknown) => {
        this.failed("read-routing", "none", error);
        return last;
      });
    }
    return this.document;
  }
}

function byWeight<T extends { weight: number }>(items: readonly T[], random: Random): T | undefined {
  let point = random.fraction() * items.reduce((sum, item) => sum + item.weight, 0);
  for (const item of items) {
    point -= item.weight;
    if (point < 0) return item;
  }
  return items.at(-1);
}
