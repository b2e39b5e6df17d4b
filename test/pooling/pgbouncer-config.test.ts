import { describe, expect, it } from "vitest";
import { databaseConfigSchema } from "../../lib/config/schema.ts";
import {
  type PgbouncerSettings,
  pgbouncerIni,
  pgbouncerUserlist,
} from "../../lib/pooling/pgbouncer-config.ts";

const { pooling } = databaseConfigSchema.parse({});

const settings = (changes: Partial<PgbouncerSettings> = {}): PgbouncerSettings => ({
  database: "shop",
  server: { host: "127.0.0.1", port: 5432 },
  listen: { host: "127.0.0.1", port: 6432 },
  pooling,
  authFile: "/run/pooler/userlist.txt",
  pidFile: "/run/pooler/pgbouncer.pid",
  version: "1.18.0",
  ...changes,
});

describe("pgbouncer.ini", () => {
  it("comes from the pooling settings", () => {
    expect(
      pgbouncerIni(
        settings({
          adminUser: "pooler_admin",
          pooling: {
            enabled: true,
            mode: "session",
            poolSize: 7,
            reservePoolSize: 2,
            maxClientConnections: 300,
            borrowTimeoutSeconds: 3,
            idleTimeoutSeconds: 120,
            idleClientTimeoutSeconds: 1_800,
          },
        }),
      ),
    ).toMatchInlineSnapshot(`
      "[databases]
      shop = host='127.0.0.1' port=5432 dbname='shop'

      [pgbouncer]
      listen_addr = 127.0.0.1
      listen_port = 6432
      unix_socket_dir =
      auth_type = scram-sha-256
      auth_file = /run/pooler/userlist.txt
      pidfile = /run/pooler/pgbouncer.pid
      admin_users = pooler_admin
      pool_mode = session
      default_pool_size = 7
      reserve_pool_size = 2
      reserve_pool_timeout = 1.5
      max_client_conn = 300
      query_wait_timeout = 3
      server_idle_timeout = 120
      server_reset_query = DISCARD ALL
      server_connect_timeout = 5
      server_login_retry = 1
      ignore_startup_parameters = extra_float_digits
      log_connections = 0
      log_disconnections = 0
      server_tls_sslmode = disable
      client_tls_sslmode = disable
      "
    `);
  });

  it.each([
    ["1.18.0", false],
    ["1.20.1", false],
    ["1.21.0", true],
    ["1.24.1", true],
    ["2.0", true],
  ])("with PgBouncer %s, prepares statements in transaction mode: %s", (version, expected) => {
    expect(pgbouncerIni(settings({ version })).includes("max_prepared_statements")).toBe(expected);
  });

  it("verifies the server's certificate and requires TLS of clients beyond loopback", () => {
    const text = pgbouncerIni(
      settings({
        serverTls: { caFile: "/etc/rds-ca.pem" },
        clientTls: { keyFile: "/etc/pooler.key", certificateFile: "/etc/pooler.crt" },
      }),
    );
    expect(text).toContain("server_tls_sslmode = verify-full\nserver_tls_ca_file = /etc/rds-ca.pem\n");
    expect(text).toContain("client_tls_sslmode = require\n");
  });

  it.each(["shop-2.eu", "_x9"])("names the database %s and no other", (database) => {
    expect(pgbouncerIni(settings({ database })).split("\n")[1]).toBe(
      `${database} = host='127.0.0.1' port=5432 dbname='${database}'`,
    );
  });

  it.each(["it's", 'we"ird', "a b", "a=b", "é", "*", "shop\nadmin_users = eve", "[pgbouncer]", "#shop"])(
    "leaves the name %j to the client, because the format cannot hold it",
    (database) => {
      expect(pgbouncerIni(settings({ database })).split("\n").slice(0, 3)).toEqual([
        "[databases]",
        "* = host='127.0.0.1' port=5432",
        "",
      ]);
    },
  );

  it.each([
    ["a line break in the host", { server: { host: "h\n[pgbouncer]\nadmin_users = eve", port: 1 } }],
    ["a carriage return in the host", { server: { host: "h\rx", port: 1 } }],
    ["PgBouncer's own database", { database: "pgbouncer" }],
    ["an administrator that is two", { adminUser: "eve,mallory" }],
    ["a path that begins with a space", { authFile: " /run/userlist.txt" }],
    ["a path with a line break", { authFile: "/run/a\nauth_type = trust" }],
  ])("refuses %s", (_, changes) => {
    expect(() => pgbouncerIni(settings(changes))).toThrowError(
      expect.objectContaining({ code: "configuration" }),
    );
  });
});

describe("userlist.txt", () => {
  it("quotes names and passwords", () => {
    expect(
      pgbouncerUserlist([
        { user: "shop_app", password: "plain" },
        { user: 'we"ird one', password: "a\"b'c d=\\;#" },
      ]),
    ).toBe('"shop_app" "plain"\n"we""ird one" "a""b\'c d=\\;#"\n');
  });

  it.each([
    ["an empty password", [{ user: "a", password: "" }]],
    ["a password with a line break", [{ user: "a", password: 'x"\n"eve" "y' }]],
    ["a name with a line break", [{ user: 'a" "b"\n"eve', password: "x" }]],
    ["a password that would be taken for an md5 hash", [{ user: "a", password: `md5${"0".repeat(32)}` }]],
    ["a password that would be taken for a verifier", [{ user: "a", password: "SCRAM-SHA-256$4096:x" }]],
    [
      "the same user twice",
      [
        { user: "a", password: "x" },
        { user: "a", password: "y" },
      ],
    ],
  ])("refuses %s, without showing the password", (_, logins) => {
    let message = "";
    try {
      pgbouncerUserlist(logins);
    } catch (error) {
      message = (error as Error).message;
      expect(error).toMatchObject({ code: "configuration" });
    }
    expect(message).not.toBe("");
    for (const { password } of logins) {
      if (password.length > 1) expect(message).not.toContain(password);
    }
  });
});
