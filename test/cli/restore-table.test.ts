import { describe, expect, it } from "vitest";
import { runCli, urlOf } from "../helpers/cli.ts";
import { useServer } from "../helpers/postgres.ts";

const server = useServer();
const moment = ["--to-time", "2026-01-02T03:04:05Z"];

describe("pgkeep restore --table", () => {
  it.each([
    [["--table", "orders", ...moment], /"orders" does not name a table/],
    [["--table", "a.b", "--swap", "--where", "true", ...moment], /--swap with --where would lose the rows/],
    [["--table", "a.b", "--name", "x", ...moment], /--name names an instance/],
    [["--table", "a.b", "--verify", ...moment], /--verify proves a whole database/],
    [["--table", "a.b", "--keep-as", "x", ...moment], /--keep-as goes with --swap/],
    [["--table", "a.b"], /nothing says what to restore/],
    [["--table", "a.b", "--to-time", "yesterday"], /yesterday/],
    [["--where", "true", ...moment], /--where goes with --table/],
    [["--as", "x", ...moment], /--as goes with --table/],
    [["--dry-run", ...moment], /--dry-run goes with --table/],
  ])("%j exits with 2 and says why", async (args, message) => {
    const { code, stderr } = await runCli(["restore", ...args]);
    expect(stderr).toMatch(message);
    expect(code).toBe(2);
  });

  it("says that a plain URL has no physical backups", async () => {
    const url = urlOf(server.target("postgres"));
    const { code, stderr } = await runCli(["restore", "--table", "public.t", ...moment, "--url", url]);
    expect(stderr).toMatch(/has no physical backups that pgkeep knows/);
    expect(code).toBe(3);
  });
});
