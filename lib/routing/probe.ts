import { errorMessage, PgkeepError } from "../errors.ts";
import type { Clock } from "../ports/clock.ts";
import type {
  Endpoint,
  Primary,
  ReplicaServer,
  Replicas,
  Session,
  SessionOptions,
} from "../ports/databases.ts";
import { hasSqlState } from "../postgres/errors.ts";
import { SqlState } from "../postgres/sqlstate.ts";
import { auroraInstances, isAurora } from "./aurora.ts";
import { type Lsn, walBytesBetween } from "./lsn.ts";

/** What was seen of one server. JSON, because it travels from the `probe` step to the `publish` step. */
export type ServerProbe = {
  endpoint: { host: string; port: number };
  pooledEndpoint: { host: string; port: number } | null;
  /** Whether the pooler answers; null without one. */
  pooledAnswers: boolean | null;
  /** A session could be opened and queried. */
  answered: boolean;
  /** Why not, or why it cannot be used although it answered. */
  problem: string | null;
  /** Tells clusters apart (`pg_control_system`); null when it may not be read. */
  systemIdentifier: string | null;
};

export type PrimaryProbe = ServerProbe & {
  walLsn: Lsn | null;
  timeline: number | null;
};

export type ReplicaProbe = ServerProbe & {
  name: string;
  replayLsn: Lsn | null;
  receiveLsn: Lsn | null;
  replayPaused: boolean;
  receiver: {
    status: string | null;
    /** Where the primary's WAL ended when it last said so. */
    latestEndLsn: Lsn | null;
    lastMessageAgeSeconds: number | null;
    timeline: number | null;
  } | null;
  /** Age of the last transaction that was replayed, on the primary's clock when that could be read. */
  lastReplayedAgeSeconds: number | null;
};

export type Probe = {
  /** When the primary's position was read, on the prober's clock (ISO 8601). */
  probedAt: string;
  primary: PrimaryProbe;
  replicas: ReplicaProbe[];
};

/** A server that does not let us in for this long is of no use to an application either. */
const connectMilliseconds = 3_000;
const queryMilliseconds = 3_000;
const poolerMilliseconds = 2_000;
/** A standby that follows has replayed within this time what the primary had written before. */
const catchUpMilliseconds = 1_000;
const catchUpPollMilliseconds = 50;

export interface ProbeOptions {
  primary: Primary;
  replicas: Replicas;
  clock: Clock;
  signal: AbortSignal;
}

/**
 * Looks at the primary first, then at every replica at once, so that a replica that follows is seen to have
 * replayed what the primary had written. A server that does not answer is data, not an error.
 */
export async function probeServers(options: ProbeOptions): Promise<Probe> {
  const { primary, replicas, signal } = options;
  const servers = await replicas.list();
  const pooled = (endpoint: Endpoint | undefined) =>
    endpoint === undefined ? null : replicas.answers(endpoint, poolerMilliseconds);
  const primaryPooler = pooled(replicas.primaryPooledEndpoint);
  const seen = await look("the primary", primary, signal, readPrimary);
  const probedAt = options.clock.now().toISOString();
  const reference = seen.answered && seen.facts.problem === null ? seen.facts : undefined;
  const [primaryPooledAnswers, ...replicaProbes] = await Promise.all([
    primaryPooler,
    ...servers.map((server) => probeReplica(server, reference, pooled(server.pooledEndpoint), options)),
  ]);
  return {
    probedAt,
    primary: {
      ...endpoints(primary.endpoint, replicas.primaryPooledEndpoint, primaryPooledAnswers),
      answered: seen.answered,
      problem: seen.answered ? seen.facts.problem : seen.problem,
      systemIdentifier: seen.answered ? seen.facts.systemIdentifier : null,
      walLsn: reference?.walLsn ?? null,
      timeline: reference?.timeline ?? null,
    },
    replicas: replicaProbes,
  };
}

async function probeReplica(
  server: ReplicaServer,
  reference: PrimaryFacts | undefined,
  pooledAnswers: Promise<boolean> | null,
  { clock, signal }: ProbeOptions,
): Promise<ReplicaProbe> {
  const seen = await look(server.name, server, signal, (session) =>
    readReplica(session, reference?.walLsn ?? null, clock, signal),
  );
  const facts = seen.answered ? seen.facts : undefined;
  const now = reference?.clockSeconds ?? facts?.clock_seconds;
  const replayed = facts?.replayed_seconds ?? null;
  return {
    name: server.name,
    ...endpoints(server.endpoint, server.pooledEndpoint, await pooledAnswers),
    answered: seen.answered,
    problem: seen.answered
      ? seen.facts.standby
        ? null
        : "it is not a standby any more: it takes writes of its own"
      : seen.problem,
    systemIdentifier: facts?.systemIdentifier ?? null,
    replayLsn: facts?.replay_lsn ?? null,
    receiveLsn: facts?.receive_lsn ?? null,
    replayPaused: facts?.replay_paused ?? false,
    receiver:
      facts?.has_receiver === true
        ? {
            status: facts.receiver_status,
            latestEndLsn: facts.receiver_end_lsn,
            lastMessageAgeSeconds: facts.receiver_age_seconds,
            timeline: facts.receiver_timeline,
          }
        : null,
    lastReplayedAgeSeconds:
      facts?.measured_lag_seconds ??
      (now === undefined || replayed === null ? null : Math.max(0, now - replayed)),
  };
}

function endpoints(
  endpoint: Endpoint,
  pooledEndpoint: Endpoint | undefined,
  pooledAnswers: boolean | null,
): Pick<ServerProbe, "endpoint" | "pooledEndpoint" | "pooledAnswers"> {
  return {
    endpoint: { host: endpoint.host, port: endpoint.port },
    pooledEndpoint:
      pooledEndpoint === undefined ? null : { host: pooledEndpoint.host, port: pooledEndpoint.port },
    pooledAnswers,
  };
}

interface PrimaryFacts {
  walLsn: Lsn | null;
  timeline: number | null;
  systemIdentifier: string | null;
  clockSeconds: number;
  problem: string | null;
}

async function readPrimary(session: Session): Promise<PrimaryFacts> {
  const systemIdentifier = await readSystemIdentifier(session);
  if (await isAurora(session)) return { ...(await readAuroraWriter(session)), systemIdentifier };
  // Neither function may be called on a standby, and CASE keeps them from it.
  const rows = await session.query<{ lsn: Lsn | null; file: string | null; clock_seconds: number }>(
    `select case when not pg_is_in_recovery() then pg_current_wal_lsn()::text end as lsn,
            case when not pg_is_in_recovery() then pg_walfile_name(pg_current_wal_lsn()) end as file,
            extract(epoch from clock_timestamp())::float8 as clock_seconds`,
  );
  const row = rows[0] as NonNullable<(typeof rows)[0]>;
  return {
    walLsn: row.lsn,
    timeline: row.file === null ? null : Number.parseInt(row.file.slice(0, 8), 16),
    systemIdentifier,
    clockSeconds: row.clock_seconds,
    problem: row.lsn === null ? "it is in recovery, so it is not a primary" : null,
  };
}

async function readAuroraWriter(session: Session): Promise<Omit<PrimaryFacts, "systemIdentifier">> {
  const instances = await auroraInstances(session);
  const writes = instances.some(({ own, writer }) => own && writer);
  const [clock] = await session.query<{ seconds: number }>(
    "select extract(epoch from clock_timestamp())::float8 as seconds",
  );
  return {
    walLsn: writes ? (instances.find(({ writer }) => writer)?.appliedLsn ?? null) : null,
    // The instances share one volume.
    timeline: null,
    clockSeconds: clock?.seconds ?? 0,
    problem: writes ? null : "it is a reader, so it is not a primary",
  };
}

interface ReplicaRow {
  standby: boolean;
  /** Where the server measures its lag by itself. */
  measured_lag_seconds?: number | null;
  replay_lsn: Lsn | null;
  receive_lsn: Lsn | null;
  replay_paused: boolean;
  replayed_seconds: number | null;
  clock_seconds: number;
  has_receiver: boolean;
  receiver_status: string | null;
  receiver_end_lsn: Lsn | null;
  receiver_age_seconds: number | null;
  receiver_timeline: number | null;
}

async function readReplica(
  session: Session,
  primaryLsn: Lsn | null,
  clock: Clock,
  signal: AbortSignal,
): Promise<ReplicaRow & { systemIdentifier: string | null }> {
  const systemIdentifier = await readSystemIdentifier(session);
  const read = (await isAurora(session)) ? readAuroraReader : readStandby;
  for (let waited = 0; ; waited += catchUpPollMilliseconds) {
    const row = await read(session);
    const behind =
      row.standby &&
      !row.replay_paused &&
      primaryLsn !== null &&
      row.replay_lsn !== null &&
      walBytesBetween(row.replay_lsn, primaryLsn) > 0;
    if (!behind || waited >= catchUpMilliseconds) return { ...row, systemIdentifier };
    await clock.sleep(catchUpPollMilliseconds, signal);
  }
}

async function readStandby(session: Session): Promise<ReplicaRow> {
  // The columns of pg_stat_wal_receiver are null for a role without pg_read_all_stats.
  const rows = await session.query<ReplicaRow>(
    `select pg_is_in_recovery() as standby,
              pg_last_wal_replay_lsn()::text as replay_lsn,
              pg_last_wal_receive_lsn()::text as receive_lsn,
              case when pg_is_in_recovery() then pg_is_wal_replay_paused() else false end as replay_paused,
              extract(epoch from pg_last_xact_replay_timestamp())::float8 as replayed_seconds,
              extract(epoch from clock_timestamp())::float8 as clock_seconds,
              receiver.pid is not null as has_receiver,
              receiver.status as receiver_status,
              receiver.latest_end_lsn::text as receiver_end_lsn,
              extract(epoch from clock_timestamp() - receiver.last_msg_receipt_time)::float8
                as receiver_age_seconds,
              receiver.received_tli as receiver_timeline
         from (values (1)) as one left join pg_stat_wal_receiver as receiver on true`,
  );
  return rows[0] as ReplicaRow;
}

/** The lag is Aurora's own measurement; a reader that the cluster does not list says nothing about how far it is. */
async function readAuroraReader(session: Session): Promise<ReplicaRow> {
  const instances = await auroraInstances(session);
  const own = instances.find((instance) => instance.own);
  const end = instances.find(({ writer }) => writer)?.appliedLsn ?? null;
  return {
    standby: own?.writer !== true,
    replay_lsn: own?.appliedLsn ?? null,
    receive_lsn: own?.receivedLsn ?? null,
    replay_paused: false,
    measured_lag_seconds: own?.lagSeconds ?? null,
    replayed_seconds: null,
    clock_seconds: 0,
    has_receiver: own !== undefined,
    receiver_status: "streaming",
    receiver_end_lsn: end,
    receiver_age_seconds: 0,
    receiver_timeline: null,
  };
}

async function readSystemIdentifier(session: Session): Promise<string | null> {
  try {
    const rows = await session.query<{ id: string }>(
      "select system_identifier::text as id from pg_control_system()",
    );
    return rows[0]?.id ?? null;
  } catch (error) {
    if (hasSqlState(error, SqlState.insufficientPrivilege, SqlState.featureNotSupported)) return null;
    throw error;
  }
}

type Seen<Facts> = { answered: true; facts: Facts } | { answered: false; problem: string };

/**
 * Opens a session, reads from it, closes it; never waits longer than the limits, even for a server that
 * accepts the connection and then says nothing; throws only when `signal` is aborted.
 */
async function look<Facts>(
  name: string,
  server: { connect(options: SessionOptions): Promise<Session> },
  signal: AbortSignal,
  read: (session: Session) => Promise<Facts>,
): Promise<Seen<Facts>> {
  const stop = new AbortController();
  const tooSlow = (doing: string, milliseconds: number) =>
    setTimeout(
      () =>
        stop.abort(new PgkeepError("timeout", `${name} did not ${doing} within ${milliseconds / 1000} s`)),
      milliseconds,
    );
  let timer = tooSlow("let us in", connectMilliseconds);
  const forward = () => stop.abort(signal.reason);
  signal.addEventListener("abort", forward, { once: true });
  const stopped = new Promise<never>((_, reject) => {
    stop.signal.addEventListener("abort", () => reject(stop.signal.reason), { once: true });
  });
  const visit = async (): Promise<Facts> => {
    const session = await server.connect({
      role: "monitoring",
      statementTimeoutMilliseconds: queryMilliseconds,
      signal: stop.signal,
    });
    try {
      clearTimeout(timer);
      stop.signal.throwIfAborted();
      timer = tooSlow("answer", queryMilliseconds);
      return await read(session);
    } finally {
      await session.close();
    }
  };
  const visiting = visit();
  // Whichever of the two is later must not become an unhandled rejection.
  visiting.catch(() => {});
  stopped.catch(() => {});
  try {
    signal.throwIfAborted();
    return { answered: true, facts: await Promise.race([visiting, stopped]) };
  } catch (error) {
    signal.throwIfAborted();
    return { answered: false, problem: errorMessage(error).replaceAll(/\s+/g, " ") };
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", forward);
  }
}
