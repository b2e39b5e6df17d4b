import { topStatements } from "../checks/workload/top.ts";
import type { Environment } from "../environment.ts";
import type { Json } from "../json.ts";
import type { Primary, Session } from "../ports/databases.ts";
import { readSizesAndGrowth } from "../review/overview.ts";
import { readAlarms, readSandbox } from "./alarms.ts";
import { Absence, type PartDefinition, type PartReader, partReader } from "./part.ts";
import { readBackups, readDrill, readHealth, readJobs, readRouting } from "./read.ts";
import type { PartName, Parts, PartTypes, Status } from "./status.ts";
import { summarize } from "./summary.ts";

/** Whom the status is about, and who can tell. */
export interface StatusSources {
  environment: Pick<Environment, "description" | "config" | "ports">;
  /** What the process of a sandbox says about itself; its alarms are in it. */
  sandbox?: (signal: AbortSignal) => Promise<Json>;
  /** Why no alarms are evaluated where the sandbox does not tell them. */
  noAlarms: Absence;
  /** Why there are no sessions, no backups or no routing, where there are none. */
  noDatabase: Absence;
  noBackups: Absence;
  noRouting: Absence;
  /** Whether something runs the jobs there when they are due. */
  scheduled: boolean;
  /** Asking costs money or is slow: parts from there are read less often. */
  remote: boolean;
}

export interface StatusCollector {
  /**
   * The status now: one collection at a time, shared by all who ask meanwhile, and none within two seconds of the
   * last. Never throws for what is wrong with the database: the parts say that.
   * @throws the reason of the signal once the collector has ended
   */
  current(): Promise<Status>;
}

const second = 1_000;

export interface CollectorOptions {
  signal: AbortSignal;
  /** No collection begins earlier after the end of the one before. Default 2,000. */
  restMilliseconds?: number;
  /** For tests: other budgets and pauses of single parts. */
  timing?: {
    [Name in PartName]?: Partial<Pick<PartDefinition<unknown>, "budgetMilliseconds" | "everyMilliseconds">>;
  };
}

/** Reads all parts beside each other, each with its own session, budget and failure. */
export function statusCollector(sources: StatusSources, options: CollectorOptions): StatusCollector {
  const { signal, restMilliseconds = 2 * second } = options;
  const { environment } = sources;
  const now = () => environment.ports.clock.now();
  const definitions = partDefinitions(sources, now);
  const readers = Object.fromEntries(
    (Object.keys(definitions) as PartName[]).map((name) => [
      name,
      partReader<unknown>({ ...definitions[name], ...options.timing?.[name] }, now),
    ]),
  ) as Record<PartName, PartReader<unknown>>;
  let underWay: Promise<Status> | undefined;
  let last: { status: Status; endedAt: number } | undefined;

  const collect = async (): Promise<Status> => {
    const entries = await Promise.all(
      Object.entries(readers).map(async ([name, reader]) => [name, await reader.refresh(signal)] as const),
    );
    const parts = Object.fromEntries(entries) as Parts;
    const status: Status = {
      formatVersion: 1,
      at: now().toISOString(),
      target: environment.description,
      database: environment.config.database.name,
      ...summarize(parts),
      parts,
    };
    last = { status, endedAt: performance.now() };
    return status;
  };

  return {
    current: async () => {
      signal.throwIfAborted();
      if (underWay !== undefined) return underWay;
      if (last !== undefined && performance.now() - last.endedAt < restMilliseconds) return last.status;
      underWay = collect().finally(() => {
        underWay = undefined;
      });
      return underWay;
    },
  };
}

type Definitions = { [Name in PartName]: PartDefinition<PartTypes[Name]> };

function partDefinitions(sources: StatusSources, now: () => Date): Definitions {
  const { environment, sandbox, scheduled, remote } = sources;
  const { config, ports } = environment;
  const { primary, routing, backups } = ports;
  const quickly = 2 * second;
  const ofSql =
    <T>(budgetMilliseconds: number, read: (session: Session) => Promise<T>) =>
    async (signal: AbortSignal): Promise<T | Absence> =>
      primary === undefined ? sources.noDatabase : withSession(primary, budgetMilliseconds, signal, read);
  const sql = <T>(
    budgetMilliseconds: number,
    everyMilliseconds: number,
    read: (session: Session) => Promise<T>,
  ): PartDefinition<T> => ({
    budgetMilliseconds,
    everyMilliseconds,
    read: ofSql(budgetMilliseconds, read),
  });
  const other = <T>(read: (signal: AbortSignal) => Promise<T | Absence>, everyMilliseconds = quickly) => ({
    budgetMilliseconds: (remote ? 15 : 5) * second,
    everyMilliseconds: remote ? Math.max(30 * second, everyMilliseconds) : everyMilliseconds,
    read,
  });
  return {
    health: sql(8 * second, 5 * second, (session) => readHealth(session, config, now)),
    alarms: other(async (signal) => {
      const alarms = sandbox === undefined ? undefined : readAlarms(await sandbox(signal));
      return alarms === undefined || alarms.length === 0 ? sources.noAlarms : { alarms };
    }),
    routing: other(async () => (routing === undefined ? sources.noRouting : readRouting(routing, now()))),
    backups: other(
      async () => (backups === undefined ? sources.noBackups : readBackups(backups, now())),
      10 * second,
    ),
    drill: sql(5 * second, 10 * second, readDrill),
    jobs: sql(5 * second, quickly, (session) => readJobs(session, { config, now: now(), scheduled })),
    queries: sql(5 * second, 10 * second, (session) => topStatements(session, { by: "total", limit: 10 })),
    sizes: sql(10 * second, 60 * second, readSizesAndGrowth),
    sandbox: other(async (signal) =>
      sandbox === undefined
        ? new Absence("it is no sandbox: nothing is broken here on purpose")
        : readSandbox(await sandbox(signal)),
    ),
  };
}

async function withSession<T>(
  primary: Primary,
  budgetMilliseconds: number,
  signal: AbortSignal,
  read: (session: Session) => Promise<T>,
): Promise<T> {
  const session = await primary.connect({
    role: "monitoring",
    statementTimeoutMilliseconds: budgetMilliseconds,
    signal,
  });
  try {
    return await read(session);
  } finally {
    await session.close();
  }
}
