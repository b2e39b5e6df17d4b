import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Backups, RestoreState } from "../../lib/ports/backups.ts";
import type { Session } from "../../lib/ports/databases.ts";
import type { PostgresMajor } from "../../lib/postgres/versions.ts";
import { type Random, seededRandom } from "../../lib/sandbox/application/random.ts";
import { sandboxBackups } from "../../lib/sandbox/backups.ts";
import { type Cluster, connectAsSuperuser, restartServer, startCluster } from "../../lib/sandbox/cluster.ts";
import { crashServer } from "../../lib/sandbox/server.ts";
import { allMajors, fastestParent } from "../helpers/postgres.ts";
import { Ledger } from "./ledger.ts";

const database = "torture";
/** Spread over the versions; the full run has 200. */
const trials = Number(process.env.PGKEEP_TORTURE_TRIALS ?? 20);
/** The choices of a failed run can be repeated, though not the moment at which each byte was written. */
const seed = Number(process.env.PGKEEP_TORTURE_SEED ?? 20_260_101);
const trialsEach = Math.ceil(trials / allMajors.length);
const trialsPerBackup = 10;

describe.each(allMajors)("PostgreSQL %i, killed at random moments", (major) => {
  let cluster: Cluster;
  let torture: Torture;

  beforeAll(async () => {
    cluster = await startCluster({
      major,
      database,
      replicas: 0,
      parent: fastestParent(),
      archiveTimeoutSeconds: 1,
      walSegmentMegabytes: 1,
      settings: {
        shared_buffers: "32MB",
        checkpoint_timeout: "30s",
        max_wal_size: "8MB",
        min_wal_size: "2MB",
      },
    });
    torture = await Torture.begin(cluster, major);
  });

  afterAll(async () => {
    await cluster?.stop();
  });

  it(`recovers to any moment: all that was acknowledged before, nothing begun after (${trialsEach} trials)`, {
    timeout: trialsEach * 30_000,
  }, async () => {
    let proving = 0;
    for (let trial = 1; trial <= trialsEach; trial++) {
      if (await torture.run(trial)) proving += 1;
    }
    // Moments must have rows before them and after them, or the trials would prove nothing.
    expect(proving).toBeGreaterThan(trialsEach / 4);
  });
});

class Torture {
  private readonly cluster: Cluster;
  private readonly major: PostgresMajor;
  private readonly ledger: Ledger;
  private readonly backups: Backups;
  /** For the choices of each trial; the writers draw from another, as often as time allows. */
  private readonly random: Random;
  private readonly writersRandom: Random;
  private earliest = 0;
  private made = 0;

  private constructor(cluster: Cluster, major: PostgresMajor, ledger: Ledger) {
    this.cluster = cluster;
    this.major = major;
    this.ledger = ledger;
    this.backups = sandboxBackups(cluster.state);
    this.random = seededRandom(seed + major);
    this.writersRandom = seededRandom(seed - major);
  }

  static async begin(cluster: Cluster, major: PostgresMajor): Promise<Torture> {
    const ledger = await onPrimary(cluster, (session) => Ledger.create(session));
    return new Torture(cluster, major, ledger);
  }

  /** One life of the primary, its violent end, and a restore. Resolves to whether the moment had rows on both sides. */
  async run(trial: number): Promise<boolean> {
    if ((trial - 1) % trialsPerBackup === 0) await this.newBackup();
    const lifeBegan = Date.now();
    await this.live();
    const killedAt = Date.now();
    // Before the restart: WAL that was never archived must be saved from the dead primary.
    const whileDead = this.random.fraction() < 0.5;
    if (!whileDead) await this.restart(trial);
    const [from, to] = this.random.pick<readonly [number, number]>([
      [lifeBegan, killedAt],
      [lifeBegan, killedAt],
      [this.earliest, killedAt],
      [killedAt, Date.now()],
    ]);
    const time = Math.max(this.earliest, this.random.integer(from, to));
    const where = `${this.label(trial)}, ${whileDead ? "primary dead" : "primary running"}, at ${time}`;
    const problems = await this.restoredProblems(`trial-${trial}`, time, where);
    expect(problems.slice(0, 5), where).toEqual([]);
    if (whileDead) await this.restart(trial);
    const before = this.ledger.acknowledgedBefore(time);
    return before > 0 && before < this.ledger.acknowledgedBefore(Date.now());
  }

  private label(trial: number): string {
    return `PGKEEP_TORTURE_SEED=${seed} PGKEEP_TEST_POSTGRES=${this.major}, trial ${trial}`;
  }

  /** Taken while clients write, so that what it copies is torn and only right once WAL is replayed. */
  private async newBackup(): Promise<void> {
    this.made += 1;
    const ending = new AbortController();
    const writing = this.ledger.write(this.target(), this.writersRandom, ending.signal);
    const backup = await this.backups.create(`torture-${String(this.made).padStart(4, "0")}`);
    ending.abort();
    await writing;
    expect(backup.status).toBe("available");
    if (this.earliest === 0) this.earliest = backup.finishedAt?.getTime() as number;
  }

  private target() {
    const { primary, superuser } = this.cluster.state;
    return { host: "127.0.0.1", port: primary.port, database, ...superuser };
  }

  /** Clients write, the server is disturbed, and killed at a random moment. */
  private async live(): Promise<void> {
    const ending = new AbortController();
    const writing = this.ledger.write(this.target(), this.writersRandom, ending.signal);
    const disturbing = this.disturb().catch(() => {}); // the kill ends it
    await delay(this.random.integer(20, 400));
    await crashServer(this.cluster.state.primary.dataDirectory);
    ending.abort();
    await Promise.all([writing, disturbing]);
  }

  /** Something for the kill to interrupt. */
  private async disturb(): Promise<void> {
    const statement = this.random.pick([
      "checkpoint",
      "select pg_switch_wal()",
      "vacuum public.ledger",
      "vacuum full public.ledger",
      "reindex table public.ledger",
      "update public.ledger set filler = repeat('y', 500)",
      "select 1",
    ]);
    await delay(this.random.integer(0, 200));
    await onPrimary(this.cluster, (session) => session.query(statement));
  }

  /** Crash recovery, after which everything acknowledged must be there. */
  private async restart(trial: number): Promise<void> {
    await restartServer(this.cluster.state, this.cluster.state.primary);
    const problems = await onPrimary(this.cluster, (session) => this.ledger.problems(session));
    expect(problems.slice(0, 5), `${this.label(trial)}, after crash recovery`).toEqual([]);
  }

  private async restoredProblems(name: string, time: number, where: string): Promise<string[]> {
    try {
      let restored: RestoreState;
      do {
        restored = await this.backups.restore({ name, target: { kind: "time", time: new Date(time) } });
      } while (restored.status !== "available");
      const session = await connectAsSuperuser(this.cluster.state, database, restored.endpoint.port);
      try {
        return await this.ledger.problems(session, time);
      } finally {
        await session.close();
      }
    } catch (error) {
      throw new Error(`${where}: the restore failed`, { cause: error });
    } finally {
      await this.backups.discard(name);
    }
  }
}

async function onPrimary<T>(cluster: Cluster, body: (session: Session) => Promise<T>): Promise<T> {
  const session = await connectAsSuperuser(cluster.state, database);
  try {
    return await body(session);
  } finally {
    await session.close();
  }
}
