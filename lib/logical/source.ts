import type { ClientLogin, Session } from "../ports/databases.ts";
import type { ToolSearch } from "./tools.ts";

/** What reaches the server: a login for programs, and sessions of the same login. */
export interface Source {
  description: string;
  login: ClientLogin;
  connect(options?: {
    database?: string;
    statementTimeoutMilliseconds?: number;
    signal?: AbortSignal;
  }): Promise<Session>;
  /** PATH and PG* of whoever runs us. */
  environment?: Record<string, string | undefined>;
  tools: ToolSearch;
}
