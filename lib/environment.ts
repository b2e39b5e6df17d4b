import type { JobConfig } from "./config/schema.ts";
import type { ClientLogin, Endpoint, Session } from "./ports/databases.ts";
import type { Ports } from "./ports/index.ts";

/** Something that jobs can run against: a running sandbox, a server by URL, AWS. */
export interface Environment {
  /** For people: "sandbox at 127.0.0.1:50432" or "db.example.com:5432/shop as alice". Without secrets. */
  description: string;
  config: JobConfig;
  ports: Ports;
  /** A session of whoever may create roles and schemas: the master user, or the URL's own user. */
  connectAsMaster(options?: {
    statementTimeoutMilliseconds?: number;
    lockTimeoutMilliseconds?: number;
    signal?: AbortSignal;
    /** Another database of the same server. */
    database?: string;
    /** An instance that was restored from this one's backup, where the same login holds. */
    restored?: Endpoint;
  }): Promise<Session>;
  /** The same login for PostgreSQL's own programs, where they may be run. */
  clientLogin?(): Promise<ClientLogin>;
  close(): Promise<void>;
}
