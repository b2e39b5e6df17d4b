import { parseIntoClientConfig } from "pg-connection-string";
import { UsageError } from "../errors.ts";
import type { ClientLogin } from "../ports/databases.ts";
import type { ConnectionTarget } from "./connect.ts";

/**
 * Reads `postgres://user:password@host:port/database?sslmode=…` with libpq's meaning of `sslmode`.
 * @throws UsageError that never repeats the URL, which may hold a password
 */
export function targetFromUrl(url: string): ConnectionTarget {
  if (!/^postgres(?:ql)?:\/\//.test(url)) {
    throw new UsageError("the database URL does not begin with postgres://", {
      remedy:
        "give --url postgres://user@host:5432/database (the password may come from PGPASSWORD or ~/.pgpass)",
    });
  }
  let parsed: ReturnType<typeof parseIntoClientConfig>;
  let database: string;
  try {
    const compatible = new URL(url);
    // The parser leaves %2F, %3F, %3D and the like in the database's name as they are.
    database = decodeURIComponent(compatible.pathname.slice(1));
    if (compatible.searchParams.has("sslmode") && !compatible.searchParams.has("uselibpqcompat")) {
      compatible.searchParams.set("uselibpqcompat", "true");
    }
    parsed = parseIntoClientConfig(compatible.href);
  } catch (error) {
    throw new UsageError("the database URL cannot be read", {
      remedy:
        "percent-encode special characters in user name and password, and check host, port and file names in it",
      cause: error instanceof Error ? new Error(error.name) : undefined,
    });
  }
  const user = parsed.user;
  if (user === undefined || user === "") {
    throw new UsageError("the database URL names no user", {
      remedy: "give --url postgres://user@host:5432/database",
    });
  }
  return {
    host: parsed.host ?? "localhost",
    port: Number(parsed.port ?? 5432),
    user,
    database: database === "" ? (parsed.database ?? user) : database,
    ...(typeof parsed.password === "string" && parsed.password !== "" ? { password: parsed.password } : {}),
    ...(parsed.ssl === undefined ? {} : { ssl: parsed.ssl as NonNullable<ConnectionTarget["ssl"]> }),
  };
}

const tlsParameters = [
  "sslmode",
  "sslrootcert",
  "sslcert",
  "sslkey",
  "sslpassword",
  "sslcrl",
  "channel_binding",
];

/**
 * The same for PostgreSQL's own programs, with the URL's TLS parameters as libpq names them.
 * @throws UsageError that never repeats the URL
 */
export function clientLoginFromUrl(url: string): ClientLogin {
  const { host, port, user, database, password } = targetFromUrl(url);
  const tls: Record<string, string> = {};
  const given = new URL(url).searchParams;
  for (const name of tlsParameters) {
    const value = given.get(name);
    if (value !== null) tls[name] = value;
  }
  // What the drivers of other languages say, in libpq's words.
  if (tls.sslmode === "no-verify" || (tls.sslmode === undefined && given.get("ssl") === "true")) {
    tls.sslmode = "require";
  }
  return { host, port, user, database, ...(typeof password === "string" ? { password } : {}), tls };
}
