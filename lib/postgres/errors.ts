import { type ErrorCode, PgkeepError } from "../errors.ts";
import { SqlState } from "./sqlstate.ts";

/** A statement that the server rejected; callers branch on `sqlState`. */
export class DatabaseError extends PgkeepError {
  readonly sqlState: string;

  constructor(
    code: ErrorCode,
    sqlState: string,
    message: string,
    details: { remedy?: string; cause?: unknown },
  ) {
    super(code, message, details);
    this.name = "DatabaseError";
    this.sqlState = sqlState;
  }
}

export function hasSqlState(error: unknown, ...states: string[]): error is DatabaseError {
  return error instanceof DatabaseError && states.includes(error.sqlState);
}

interface ServerError {
  code?: string;
  message: string;
  detail?: string;
  severity?: string;
}

function isServerError(error: unknown): error is ServerError {
  return error instanceof Error && typeof (error as ServerError).code === "string" && "severity" in error;
}

const codes: Partial<Record<string, ErrorCode>> = {
  [SqlState.invalidPassword]: "authentication",
  [SqlState.invalidAuthorization]: "authentication",
  [SqlState.invalidCatalogName]: "not-found",
  [SqlState.insufficientPrivilege]: "insufficient-privilege",
  [SqlState.readOnlyTransaction]: "read-only",
  [SqlState.queryCanceled]: "timeout",
  [SqlState.lockNotAvailable]: "timeout",
  [SqlState.cannotConnectNow]: "unreachable",
  [SqlState.adminShutdown]: "unreachable",
  [SqlState.crashShutdown]: "unreachable",
  [SqlState.tooManyConnections]: "unreachable",
};

/** Turns an error of a running statement into ours. The statement's text stays out: it may hold data. */
export function statementError(error: unknown, where: string): PgkeepError {
  if (error instanceof PgkeepError) return error;
  if (isServerError(error)) {
    const code = codes[error.code ?? ""] ?? "statement-failed";
    const remedy =
      code === "insufficient-privilege"
        ? "run `pgkeep roles audit` to see what this role lacks, or connect as a role that may do it"
        : code === "read-only"
          ? "connect to the primary: a standby and a read-only transaction accept no changes"
          : undefined;
    const message = `${where}: ${error.message}`;
    return new DatabaseError(code, error.code ?? "XX000", message, {
      ...(remedy === undefined ? {} : { remedy }),
      cause: error,
    });
  }
  const text = error instanceof Error ? error.message : String(error);
  return new PgkeepError("unreachable", `${where}: the connection was lost (${text})`, {
    remedy: "see whether the server is running and reachable, then try again",
    cause: error,
  });
}

/** Turns a failure to connect into one clear message. `target` is `host:port/database as user`. */
export function connectError(error: unknown, target: string): PgkeepError {
  if (error instanceof PgkeepError) return error;
  const cause = { cause: error };
  if (isServerError(error)) {
    switch (error.code) {
      case SqlState.invalidPassword:
      case SqlState.invalidAuthorization:
        return new DatabaseError(
          "authentication",
          error.code,
          `cannot log in to ${target}: ${error.message}`,
          {
            remedy: "check the user name, the password and the server's pg_hba.conf",
            ...cause,
          },
        );
      case SqlState.invalidCatalogName:
        return new DatabaseError("not-found", error.code, `cannot connect to ${target}: ${error.message}`, {
          remedy: "check the database name in the URL",
          ...cause,
        });
      case SqlState.tooManyConnections:
        return new DatabaseError(
          "unreachable",
          error.code,
          `no connection is free at ${target}: ${error.message}`,
          {
            remedy:
              "close idle sessions or raise max_connections; `pgkeep health` over an open connection shows who holds them",
            ...cause,
          },
        );
      case SqlState.cannotConnectNow:
        return new DatabaseError(
          "unreachable",
          error.code,
          `${target} accepts no connections now: ${error.message}`,
          {
            remedy: "wait until the server has finished starting or recovering, then try again",
            ...cause,
          },
        );
      default:
        return new DatabaseError(
          "unreachable",
          error.code ?? "XX000",
          `cannot connect to ${target}: ${error.message}`,
          {
            ...(error.code === SqlState.protocolViolation
              ? { remedy: "use the server's own address: pgkeep needs a direct connection, not a pooler" }
              : {}),
            ...cause,
          },
        );
    }
  }
  const code = (error as { code?: string } | undefined)?.code;
  const text = error instanceof Error && error.message !== "" ? error.message : (code ?? String(error));
  const remedies: Record<string, string> = {
    ECONNREFUSED: "start the server, or check host and port",
    ENOTFOUND: "check the host name in the URL",
    EAI_AGAIN: "check the host name in the URL and this machine's DNS",
    ETIMEDOUT: "check the network path: security groups, firewall, VPN",
    EHOSTUNREACH: "check the network path: security groups, firewall, VPN",
  };
  return new PgkeepError("unreachable", `cannot reach ${target}: ${text}`, {
    remedy:
      remedies[code ?? ""] ??
      (/certificate|self.signed|SSL/i.test(text)
        ? "check sslmode and sslrootcert in the URL"
        : "check host, port and network, then try again"),
    ...cause,
  });
}
