import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connect } from "../../lib/postgres/connect.ts";
import { identifier, literal } from "../../lib/postgres/identifiers.ts";
import { type Cluster, startCluster } from "../../lib/sandbox/cluster.ts";
import { sandboxDatabases } from "../../lib/sandbox/databases.ts";
import { waitUntil } from "../../lib/sandbox/processes.ts";
import { defaultMajor, fastestParent } from "../helpers/postgres.ts";
import { databasesContract } from "../ports/databases.contract.ts";

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({
    major: defaultMajor,
    database: "shop",
    replicas: 1,
    parent: fastestParent(),
    roleNames: { drill: 'odd "drill"' },
  });
  // As the installer would: with the names and passwords of the state.
  const { state } = cluster;
  const at = (port: number) => ({ host: "127.0.0.1", port, database: "shop", ...state.master });
  const master = await connect(at(state.primary.port));
  for (const { user, password } of Object.values(state.roles)) {
    await master.query(`create role ${identifier(user)} login password ${literal(password)}`);
  }
  await master.close();
  const last = state.roles.drill.user;
  await waitUntil(async () => {
    const session = await connect(at(state.replicas[0]?.port as number));
    const found = await session.query("select from pg_roles where rolname = $1", [last]);
    await session.close();
    return found.length === 1;
  }, 10_000);
});

afterAll(async () => {
  await cluster?.stop();
});

describe("the sandbox's databases", () => {
  databasesContract(() => sandboxDatabases(cluster.state));

  it("show each job's role in pg_stat_activity", async () => {
    const session = await sandboxDatabases(cluster.state).primary.connect({ role: "maintenance" });
    const rows = await session.query("select current_setting('application_name') as name");
    expect(rows).toEqual([{ name: "pgkeep maintenance" }]);
    await session.close();
  });

  it("name the pooler in front of each server when there is one", async () => {
    const pooler = (name: string, port: number) => ({ name, port, pid: 1, directory: "/nowhere" });
    const ports = sandboxDatabases({
      ...cluster.state,
      poolers: [pooler("replica-1", 7001), pooler("primary", 7000)],
    });
    expect(ports.replicas.primaryPooledEndpoint).toEqual({ host: "127.0.0.1", port: 7000 });
    expect((await ports.replicas.list())[0]?.pooledEndpoint).toEqual({ host: "127.0.0.1", port: 7001 });
    const without = sandboxDatabases(cluster.state).replicas;
    expect(without.primaryPooledEndpoint).toBeUndefined();
    expect((await without.list())[0]?.pooledEndpoint).toBeUndefined();
  });
});
