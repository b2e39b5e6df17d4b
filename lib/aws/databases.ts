import { jobRoleNames } from "../install/role-names.ts";
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
import type { PlatformResources } from "./resources.ts";

export interface DatabaseAccess {
  /** The password of one login by IAM. Asked for at each connection: a token lasts 15 minutes. */
  token(login: Endpoint & { user: string }): Promise<string>;
  /** Certificate authorities that sign the servers' certificates, as PEM. */
  certificateAuthorities: string;
}

/**
 * The deployed servers as the ports that jobs know: their own endpoints, never the proxy, with IAM authentication
 * as the role of the step. TLS is verified in full: the chain against `certificateAuthorities`, the name against
 * the endpoint's.
 */
export function awsDatabases(
  resources: PlatformResources,
  access: DatabaseAccess,
): { primary: Primary; replicas: Replicas; restored: Restored } {
  const login = (endpoint: Endpoint, { role, ...options }: SessionOptions): Promise<Session> => {
    const user = jobRoleNames[role];
    return connect(
      {
        ...endpoint,
        database: resources.databaseName,
        user,
        password: () => access.token({ ...endpoint, user }),
        ssl: { ca: access.certificateAuthorities, rejectUnauthorized: true },
        applicationName: `pgkeep ${role}`,
        connectTimeoutMilliseconds: 10_000,
      },
      options,
    );
  };
  const primary = endpointOf(resources.primary);
  return {
    primary: { endpoint: primary, connect: (options) => login(primary, options) },
    replicas: {
      async list() {
        return resources.replicas.map((replica): ReplicaServer => {
          const endpoint = endpointOf(replica);
          return { name: replica.name, endpoint, connect: (options) => login(endpoint, options) };
        });
      },
      answers: answersLogin,
    },
    restored: { connect: login },
  };
}

function endpointOf({ host, port }: Endpoint): Endpoint {
  return { host, port };
}
