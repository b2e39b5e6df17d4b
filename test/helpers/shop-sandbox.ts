import { afterAll, beforeAll } from "vitest";
import { systemClock } from "../../lib/clock.ts";
import type { Session } from "../../lib/ports/databases.ts";
import { connect } from "../../lib/postgres/connect.ts";
import { identifier, literal } from "../../lib/postgres/identifiers.ts";
import type { PostgresMajor } from "../../lib/postgres/versions.ts";
import { loadApplication } from "../../lib/sandbox/application/load.ts";
import { type Cluster, type ClusterOptions, startCluster } from "../../lib/sandbox/cluster.ts";
import type { FaultContext } from "../../lib/sandbox/faults/fault.ts";
import { HeldSessions } from "../../lib/sandbox/faults/held-sessions.ts";
import type { Login, SandboxState } from "../../lib/sandbox/state.ts";

export interface ShopSandbox {
  readonly state: SandboxState;
  readonly context: FaultContext;
  /** Runs `body` as superuser on the primary, or as somebody else, or elsewhere. */
  as<T>(body: (session: Session) => Promise<T>, options?: { login?: Login; port?: number }): Promise<T>;
}

/** A cluster with the sample application and its logins, but without pgkeep's schema, poolers and jobs. */
export function useShopSandbox(
  major: PostgresMajor,
  options: Omit<ClusterOptions, "major" | "database"> & { database?: string } = {},
): ShopSandbox {
  let cluster: Cluster | undefined;
  let context: FaultContext | undefined;

  const running = (): Cluster => {
    if (cluster === undefined) throw new Error("the sandbox runs in tests and hooks only");
    return cluster;
  };
  const sandbox: ShopSandbox = {
    get state() {
      return running().state;
    },
    get context() {
      context ??= {
        state: running().state,
        held: new HeldSessions(),
        clock: systemClock,
        signal: new AbortController().signal,
      };
      return context;
    },
    async as(body, { login, port } = {}) {
      const { state } = running();
      const session = await connect({
        host: "127.0.0.1",
        port: port ?? state.primary.port,
        database: state.database,
        ...(login ?? state.superuser),
      });
      try {
        return await body(session);
      } finally {
        await session.close();
      }
    },
  };

  beforeAll(async () => {
    cluster = await startCluster({ database: "shop", replicas: 1, ...options, major });
    await sandbox.as((session) => prepareShop(session, running().state));
  });
  afterAll(async () => {
    await context?.held.close();
    await cluster?.stop();
  });
  return sandbox;
}

async function prepareShop(session: Session, state: SandboxState): Promise<void> {
  const { writer, reporting } = state.application;
  for (const login of [writer, reporting, state.roles.monitoring]) {
    await session.query(
      `create role ${identifier(login.user)} login password ${literal(login.password)}
       in role pg_monitor`,
    );
  }
  // What pgkeep gives an application's role: a forgotten transaction is ended after a minute.
  await session.query(`alter role ${identifier(writer.user)} set idle_in_transaction_session_timeout = '2s'`);
  await session.query("create role shop_owner nologin");
  await session.query(`grant create on database ${identifier(state.database)} to shop_owner`);
  await loadApplication(session, { owner: "shop_owner", scale: 0.2 });
  const logins = [writer, reporting].map(({ user }) => identifier(user)).join(", ");
  await session.query(`grant usage on schema shop to ${logins}`);
  await session.query(`grant select on all tables in schema shop to ${logins}`);
  await session.query(
    `grant insert, update, delete on all tables in schema shop to ${identifier(writer.user)}`,
  );
}
