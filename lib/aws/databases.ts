import type {
  Endpoint,
  Primary,
  ReplicaServer,
  Replicas,
  Restored,
  Session,
  SessionOptions,
} from "../ports/databases.ts";
import { connect } from "../postgres/connect.ts";
import { answersLogin } from "../postgres/probe.ts";
import { type AwsKeys, iamToken } from "./iam-token.ts";
import { rdsCertificates } from "./rds-certificates.ts";
import type { PlatformResources, ServerResource } from "./resources.ts";

/** The PostgreSQL role of each identity; all of them log in by IAM. */
const users = {
  monitoring: "pgkeep_monitoring",
  maintenance: "pgkeep_maintenance",
  drill: "pgkeep_drill",
} as const;

export interface LoginOptions {
  /** Asked for at each login, because those of a Lambda are renewed. */
  keys: () => AwsKeys | Promise<AwsKeys>;
  now: () => Date;
}

/**
 * The servers of a deployed platform. Every session is a direct connection, encrypted, to a server whose
 * certificate one of RDS's authorities has signed for that very name, and logs in with a token that AWS's keys sign.
 */
export function awsDatabases(
  resources: PlatformResources,
  options: LoginOptions,
): { primary: Primary; replicas: Replicas; restored: Restored } {
  const login = (endpoint: Endpoint, { role, ...session }: SessionOptions): Promise<Session> =>
    connect(
      {
        host: endpoint.host,
        port: endpoint.port,
        database: resources.databaseName,
        user: users[role],
        password: async () =>
          iamToken({
            host: endpoint.host,
            port: endpoint.port,
            region: resources.region,
            user: users[role],
            keys: await options.keys(),
            now: options.now(),
          }),
        ssl: { ca: rdsCertificates(), rejectUnauthorized: true },
        applicationName: `pgkeep ${role}`,
        connectTimeoutMilliseconds: 5_000,
      },
      session,
    );
  return {
    primary: {
      endpoint: endpointOf(resources.primary),
      connect: (session) => login(resources.primary, session),
    },
    replicas: {
      list: async () =>
        resources.replicas.map(
          (replica): ReplicaServer => ({
            name: replica.name,
            endpoint: endpointOf(replica),
            connect: (session) => login(replica, session),
          }),
        ),
      answers: answersLogin,
    },
    restored: { connect: login },
  };
}

function endpointOf({ host, port }: ServerResource): Endpoint {
  return { host, port };
}
