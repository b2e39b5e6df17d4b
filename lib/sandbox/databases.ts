import type {
  Endpoint,
  Primary,
  ReplicaServer,
  Replicas,
  Restored,
  Session,
  SessionOptions,
} from "../ports/databases.ts";
import { type ConnectionTarget, connect } from "../postgres/connect.ts";
import { answersLogin } from "../postgres/probe.ts";
import type { SandboxState } from "./state.ts";
import { primaryTls } from "./tls.ts";

/** The sandbox's servers as the ports that jobs know. `state` is read at each call: ports and poolers may change. */
export function sandboxDatabases(state: SandboxState): {
  primary: Primary;
  replicas: Replicas;
  restored: Restored;
} {
  const pooled = (name: string): Endpoint | undefined => {
    const pooler = state.poolers?.find((candidate) => candidate.name === name);
    return pooler === undefined ? undefined : loopback(pooler.port);
  };
  return {
    primary: {
      get endpoint() {
        return loopback(state.primary.port);
      },
      connect: async (options) =>
        login(state, loopback(state.primary.port), options, await primaryTls(state)),
    },
    replicas: {
      async list() {
        return state.replicas.map((replica): ReplicaServer => {
          const endpoint = loopback(replica.port);
          const pooledEndpoint = pooled(replica.name);
          return {
            name: replica.name,
            endpoint,
            ...(pooledEndpoint === undefined ? {} : { pooledEndpoint }),
            connect: (options) => login(state, endpoint, options),
          };
        });
      },
      get primaryPooledEndpoint() {
        return pooled(state.primary.name);
      },
      answers: answersLogin,
    },
    restored: {
      connect: (endpoint, options) => login(state, endpoint, options),
    },
  };
}

const loopback = (port: number): Endpoint => ({ host: "127.0.0.1", port });

async function login(
  state: SandboxState,
  endpoint: Endpoint,
  { role, ...options }: SessionOptions,
  tls: Pick<ConnectionTarget, "ssl"> = {},
): Promise<Session> {
  return connect(
    {
      ...endpoint,
      ...tls,
      database: state.database,
      ...state.roles[role],
      applicationName: `pgkeep ${role}`,
      connectTimeoutMilliseconds: 5_000,
    },
    options,
  );
}
