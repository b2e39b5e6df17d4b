import { describe, expect, it } from "vitest";
import { scramVerifier } from "../../lib/install/scram.ts";
import { identifier, literal } from "../../lib/postgres/identifiers.ts";
import { useServer } from "../helpers/postgres.ts";
import { installed } from "./installed.ts";

const passwords = ["pencil", "with 'quotes' and \\", "naïve Größe", "Ⅸ no\u00a0break so\u00adft ﬁ", "🐘"];

describe("the verifier of a password", () => {
  const server = useServer();

  it.each(passwords)("is the one that PostgreSQL makes of %j itself", async (password) => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    const role = `user_of_${database}`;
    await session.query(`create role ${identifier(role)} password ${literal(password)}`);
    const rows = await session.query<{ stored: string }>(
      "select rolpassword as stored from pg_authid where rolname = $1",
      [role],
    );
    await session.close();
    const stored = rows[0]?.stored as string;
    const [, iterations, salt] = /^SCRAM-SHA-256\$(\d+):([^$]+)\$/.exec(stored) as unknown as string[];
    expect(await scramVerifier(password, Buffer.from(salt as string, "base64"), Number(iterations))).toBe(
      stored,
    );
  });

  it("is the known one of RFC 7677's example", async () => {
    const verifier = await scramVerifier("pencil", Buffer.from("W22ZaJ0SNY7soEsUEjb6gQ==", "base64"));
    expect(verifier).toBe(
      "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
    );
  });

  it("is all that the server and its statistics see of a password", async () => {
    const shop = await installed(server);
    const secret = "hunter2-very-secret";
    await shop.apply({ passwords: { [shop.names.app]: secret } });
    const seen = await shop.as(undefined, (session) =>
      session.query(
        "select 1 from public.pg_stat_statements where query like '%hunter2%very%' and query not like '%like%'",
      ),
    );
    expect(seen).toEqual([]);
    const session = await server.connect(shop.database, { user: shop.names.app, password: secret });
    await session.close();
    expect(JSON.stringify(await shop.apply({ passwords: { [shop.names.app]: secret } }))).not.toContain(
      secret,
    );
  });

  it("leaves the passwords of other roles alone", async () => {
    const shop = await installed(server);
    await shop.apply();
    await shop.as(shop.names.reporting, async (session) => {
      expect(session.user).toBe(shop.names.reporting);
    });
  });
});
