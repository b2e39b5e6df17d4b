import { chmod, mkdtemp, readdir, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Session } from "../../lib/ports/databases.ts";
import { connect } from "../../lib/postgres/connect.ts";
import { hasSqlState } from "../../lib/postgres/errors.ts";
import { answersLogin } from "../../lib/postgres/probe.ts";
import { SqlState } from "../../lib/postgres/sqlstate.ts";
import { type Cluster, connectAsSuperuser, restartServer, startCluster } from "../../lib/sandbox/cluster.ts";
import { sandboxDatabases } from "../../lib/sandbox/databases.ts";
import { waitUntil } from "../../lib/sandbox/processes.ts";
import { crashServer, isRunning, stopServer } from "../../lib/sandbox/server.ts";
import { allMajors, fastestParent } from "../helpers/postgres.ts";

const database = `odd "shop" 'ü'\n%`;

describe.each(allMajors)("a cluster of PostgreSQL %i with two replicas", (major) => {
  let parent: string;
  let cluster: Cluster;
  let primary: Session;

  beforeAll(async () => {
    // The name tries the quoting of archive_command and primary_conninfo.
    parent = await mkdtemp(join(fastestParent(), "pgkeep-test-"));
    const hostile = await mkdtemp(join(parent, `it's "100%f" $(HOME) @ \\ `));
    await openTo(parent, hostile);
    cluster = await startCluster({ major, database, parent: hostile, archiveTimeoutSeconds: 2 });
    primary = await connectAsSuperuser(cluster.state, database);
    await primary.query("create table public.entries (id int primary key)");
  });

  afterAll(async () => {
    await primary?.close();
    await cluster?.stop();
    expect(await readdir(join(parent, (await readdir(parent))[0] as string))).toEqual([]);
    await rm(parent, { recursive: true });
  });

  async function onReplica<T>(index: number, body: (session: Session) => Promise<T>): Promise<T> {
    const replica = cluster.state.replicas[index];
    const session = await connectAsSuperuser(cluster.state, database, replica?.port);
    try {
      return await body(session);
    } finally {
      await session.close();
    }
  }

  const arrives = (index: number, id: number) =>
    waitUntil(
      () =>
        onReplica(index, async (session) => {
          // The table itself may not have arrived yet.
          const rows = await session
            .query("select 1 from public.entries where id = $1", [id])
            .catch((error) => (hasSqlState(error, SqlState.undefinedTable) ? [] : Promise.reject(error)));
          return rows.length === 1;
        }),
      10_000,
    );

  it("streams to each replica through a slot of its own", async () => {
    await primary.query("insert into public.entries values (1)");
    expect(await arrives(0, 1)).toBe(true);
    expect(await arrives(1, 1)).toBe(true);
    const slots = await primary.query(
      `select s.slot_name as slot, r.application_name as replica, r.state
       from pg_replication_slots s join pg_stat_replication r on r.pid = s.active_pid order by 1`,
    );
    expect(slots).toEqual([
      { slot: "replica_1", replica: "replica-1", state: "streaming" },
      { slot: "replica_2", replica: "replica-2", state: "streaming" },
    ]);
    expect(await onReplica(0, async (session) => session.isStandby)).toBe(true);
  });

  it("archives finished segments whole, and refuses to replace one by another", async () => {
    await primary.query("insert into public.entries values (2)");
    const [segment] = await primary.query<{ name: string; bytes: number }>(
      `select pg_walfile_name(pg_switch_wal()) as name,
              (select setting::int from pg_settings where name = 'wal_segment_size') as bytes`,
    );
    const file = join(cluster.state.archiveDirectory, segment?.name as string);
    const bytes = async () => (await stat(file).catch(() => undefined))?.size;
    expect(await waitUntil(async () => (await bytes()) !== undefined, 10_000)).toBe(true);
    expect(await bytes()).toBe(segment?.bytes);
    const [archiver] = await primary.query<{ failed: number; command: string }>(
      `select failed_count as failed, current_setting('archive_command') as command from pg_stat_archiver`,
    );
    expect(archiver?.failed).toBe(0);
  });

  it("archives by time when little is written", async () => {
    const before = (await readdir(cluster.state.archiveDirectory)).length;
    await primary.query("insert into public.entries values (3)");
    const more = async () => (await readdir(cluster.state.archiveDirectory)).length > before;
    expect(await waitUntil(more, 15_000)).toBe(true);
  });

  it("keeps its files and passwords to itself", async () => {
    const { state } = cluster;
    expect((await stat(state.directory)).mode & 0o777).toBe(0o700);
    expect((await stat(join(state.directory, "sandbox.json"))).mode & 0o777).toBe(0o600);
    expect((await stat(`${state.replicas[0]?.dataDirectory}.pgpass`)).mode & 0o777).toBe(0o600);
    const secrets = [state.superuser, state.master, state.replication].map((login) => login.password);
    for (const pid of await readdir("/proc")) {
      const line = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
      for (const secret of secrets) expect(line).not.toContain(secret);
    }
    const local = { host: "127.0.0.1", port: state.primary.port, database, user: state.superuser.user };
    await expect(connect(local)).rejects.toThrow();
  });

  it("gives the master user the database but not the server", async () => {
    const { master, primary: server } = cluster.state;
    const session = await connect({ host: "127.0.0.1", port: server.port, database, ...master });
    expect(session.isSuperuser).toBe(false);
    await session.query("create schema mine");
    await expect(session.query("create extension file_fdw")).rejects.toMatchObject({
      code: "insufficient-privilege",
    });
    await expect(session.query("select pg_create_physical_replication_slot('mine')")).rejects.toMatchObject({
      code: "insufficient-privilege",
    });
    await session.close();
  });

  it("answers as ports: servers, and whether they speak", async () => {
    const ports = sandboxDatabases(cluster.state);
    const replicas = await ports.replicas.list();
    expect(replicas.map((replica) => replica.name)).toEqual(["replica-1", "replica-2"]);
    expect(await ports.replicas.answers(ports.primary.endpoint, 2_000)).toBe(true);
    expect(await ports.replicas.answers({ host: "127.0.0.1", port: 1 }, 2_000)).toBe(false);
    expect(ports.replicas.primaryPooledEndpoint).toBeUndefined();
  });

  it("survives a kill of a replica and of the primary, and streams on", async () => {
    const { state } = cluster;
    const replica = state.replicas[1];
    if (replica === undefined) throw new Error("no second replica");
    await crashServer(replica.dataDirectory);
    expect(await isRunning(replica.dataDirectory)).toBe(false);
    expect(await answersLogin({ host: "127.0.0.1", port: replica.port }, 1_000)).toBe(false);
    await primary.query("insert into public.entries values (10)");
    await restartServer(state, replica);
    expect(await arrives(1, 10)).toBe(true);

    await primary.close();
    await crashServer(state.primary.dataDirectory);
    await restartServer(state, state.primary);
    primary = await connectAsSuperuser(state, database);
    await primary.query("insert into public.entries values (11)");
    expect(await arrives(0, 11)).toBe(true);
    expect(await arrives(1, 11)).toBe(true);
  });

  it("stops and starts a server in order", async () => {
    const replica = cluster.state.replicas[0];
    if (replica === undefined) throw new Error("no first replica");
    await stopServer(replica.dataDirectory);
    expect(await isRunning(replica.dataDirectory)).toBe(false);
    await stopServer(replica.dataDirectory);
    const again = await restartServer(cluster.state, replica);
    expect(again.port).toBe(replica.port);
    expect(await isRunning(replica.dataDirectory)).toBe(true);
  });
});

/** The account that runs the servers has to pass through. */
async function openTo(...directories: string[]): Promise<void> {
  for (const directory of directories) await chmod(directory, 0o711);
}
