import { systemClock } from "../clock.ts";
import type { JobConfig } from "../config/schema.ts";
import type { Environment } from "../environment.ts";
import type { Endpoint, Primary, Replicas } from "../ports/databases.ts";
import { type ConnectionTarget, connect } from "../postgres/connect.ts";
import { answersLogin } from "../postgres/probe.ts";
import { clientLoginFromUrl, targetFromUrl } from "../postgres/url.ts";
import { memoryRouting } from "./routing.ts";

/**
 * Any PostgreSQL by URL, with the rights of the URL's own user whatever role a job asks for.
 * It has no backups; the routing document of a run lives as long as the process.
 */
export function urlEnvironment(url: string, replicaUrls: readonly string[], config: JobConfig): Environment {
  const target = targetFromUrl(url);
  const replicas = replicaUrls.map((replicaUrl, index) => ({
    name: `replica-${index + 1}`,
    target: targetFromUrl(replicaUrl),
  }));
  const primary: Primary = {
    endpoint: endpointOf(target),
    connect: ({ role: _, ...options }) => connect(target, options),
  };
  const replicaServers: Replicas = {
    list: async () =>
      replicas.map((replica) => ({
        name: replica.name,
        endpoint: endpointOf(replica.target),
        connect: ({ role: _, ...options }) => connect(replica.target, options),
      })),
    answers: answersLogin,
  };
  return {
    description: `${target.host}:${target.port}/${target.database} as ${target.user}`,
    config: { ...config, database: { ...config.database, name: target.database } },
    ports: {
      primary,
      replicas: replicaServers,
      routing: memoryRouting(),
      clock: systemClock,
      metrics: { put: async () => {} },
      notifications: { send: async () => {} },
    },
    connectAsMaster: ({ database = target.database, ...options } = {}) =>
      connect({ ...target, database }, options),
    clientLogin: async () => clientLoginFromUrl(url),
    close: async () => {},
  };
}

function endpointOf(target: ConnectionTarget): Endpoint {
  return { host: target.host, port: target.port };
}
