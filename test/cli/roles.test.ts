import { beforeAll, describe, expect, it } from "vitest";
import { runCli, urlOf } from "../helpers/cli.ts";
import { defaultMajor, useServer } from "../helpers/postgres.ts";
import { type Installed, installed } from "../install/installed.ts";

describe("pgkeep roles", () => {
  const server = useServer(defaultMajor);
  let shop: Installed;
  beforeAll(async () => {
    shop = await installed(server, { database: "shop" });
  });
  const roles = (...args: string[]) =>
    runCli(["roles", ...args, "--url", urlOf(server.target("shop", shop.master))]);
  const breakIt = () =>
    shop.as(undefined, async (session) => {
      await session.query("alter role shop_app set statement_timeout = 0");
      await session.query("grant temporary on database shop to public");
    });

  it("audit finds nothing in a database that is right, and exits with 0", async () => {
    expect(await roles("audit")).toEqual({
      code: 0,
      stdout: "database shop: roles and rights are as the configuration says\n",
      stderr: "",
    });
  });

  it("audit names each difference with its statement, and exits with 1", async () => {
    await breakIt();
    const { code, stdout } = await roles("audit");
    expect(code).toBe(1);
    expect(stdout).toBe(`database shop: 2 differences, 2 of them repaired by \`pgkeep roles apply\`
  statement_timeout of shop_app is 0 instead of 30s
    ALTER ROLE "shop_app" SET statement_timeout = '30s';
  PUBLIC has TEMPORARY on database shop
    REVOKE TEMPORARY ON DATABASE "shop" FROM PUBLIC CASCADE;
`);
    const json = await roles("audit", "--json");
    expect(json.code).toBe(1);
    expect(JSON.parse(json.stdout)).toMatchObject({
      database: "shop",
      installed: true,
      findings: [{ kind: "repair", repairable: true }, { kind: "revoke" }],
    });
  });

  it("plan shows the statements and leaves the difference", async () => {
    await breakIt();
    const { code, stdout } = await roles("plan");
    expect(code).toBe(0);
    expect(stdout).toContain(
      '-- PUBLIC has TEMPORARY on database shop\nREVOKE TEMPORARY ON DATABASE "shop" FROM PUBLIC CASCADE;',
    );
    expect((await roles("audit")).code).toBe(1);
  });

  it("apply repairs it and says what it repaired", async () => {
    await breakIt();
    const { code, stdout } = await roles("apply");
    expect(code).toBe(0);
    expect(stdout).toContain(`repaired:
  statement_timeout of shop_app was 0: set to 30s
  PUBLIC had TEMPORARY on database shop: revoked
`);
    expect((await roles("audit")).code).toBe(0);
    const again = await roles("apply", "--json");
    expect(JSON.parse(again.stdout)).toMatchObject({ outcome: "unchanged", repaired: [] });
  });
});
