import { describe, expect, it } from "vitest";
import { useServer } from "../helpers/postgres.ts";
import { createLogin } from "../helpers/review.ts";

describe("a session", () => {
  const server = useServer();

  it("reads moments as dates whatever DateStyle its role has", async () => {
    const database = await server.createDatabase();
    const login = await createLogin(server, database);
    const admin = await server.connect(database);
    await admin.query(`alter role ${login.user} set datestyle = 'German, DMY'`);
    const session = await server.connect(database, login);
    const [row] = await session.query<{ at: Date; setting: string; date: string }>(
      "select timestamptz '2026-02-03 04:05:06Z' as at, current_setting('datestyle') as setting, '01/02/2026'::date::text as date",
    );
    expect(row).toEqual({
      at: new Date("2026-02-03T04:05:06Z"),
      setting: "ISO, DMY",
      date: "2026-02-01",
    });
    await session.close();
    await admin.close();
  });
});
