import { connect } from "node:net";
import { describe, expect, it } from "vitest";
import type { Status } from "../../lib/status/status.ts";
import { runCli, urlOf } from "../helpers/cli.ts";
import { useServer } from "../helpers/postgres.ts";

describe("pgkeep status", () => {
  const server = useServer();
  const url = (database: string) =>
    urlOf({ host: server.host, port: server.port, database, ...server.superuser });

  it("prints every part as text, and the same as one JSON document", async () => {
    const database = await server.createDatabase();
    const shown = await runCli(["status", "--url", url(database)]);
    expect([shown.code, shown.stderr]).toEqual([0, ""]);
    for (const title of [
      "Health now",
      "Alarms",
      "Routing of reads",
      "Backups",
      "Last restore drill",
      "Jobs",
      "Top queries",
      "Sizes",
    ]) {
      expect(shown.stdout).toMatch(new RegExp(`^${title}\n  \\S`, "m"));
    }
    expect(shown.stdout).toContain("Not here: a routing document is kept in a sandbox and on AWS only");
    const { code, stdout } = await runCli(["status", "--json", "--url", url(database)]);
    expect(code).toBe(0);
    const status = JSON.parse(stdout) as Status;
    expect(status).toMatchObject({ formatVersion: 1, database, parts: { health: { state: "known" } } });
    expect(stdout).not.toContain(server.superuser.password);
  });

  it("exits with 3 when health could not be asked, and says why", async () => {
    const { code, stdout } = await runCli(["status", "--url", url("nowhere")]);
    expect(code).toBe(3);
    expect(stdout).toMatch(/TROUBLE\. Health could not be asked\./);
    expect(stdout).toMatch(/NOT KNOWN: .*"?nowhere"?/);
    expect(stdout).not.toContain(server.superuser.password);
  });

  it.each([
    [["status", "--port", "8080"], "--port goes with --serve"],
    [["status", "--host", "0.0.0.0"], "--host goes with --serve"],
    [["status", "--serve", "--host", " "], "--host is empty"],
    [["status", "--serve", "--json"], "--serve goes on until it is stopped"],
    [["status", "--serve", "--port", "70000"], "not a whole number from 0 to 65535"],
    [["status", "--serve", "--port", "x"], "not a whole number"],
    [["sandbox", "--once", "--port", "8080"], "leave --port away"],
  ])("refuses %j", async (args, message) => {
    expect(await runCli(args)).toMatchObject({ code: 2, stderr: expect.stringContaining(message) });
  });

  it("says that no sandbox is running where nothing else is named", async () => {
    expect(await runCli(["status"])).toMatchObject({
      code: 3,
      stderr: expect.stringContaining("no sandbox is running"),
    });
  });

  /** Serves until the test has looked, then as Ctrl-C would end it. */
  async function served(args: readonly string[], look: (address: string) => Promise<void>) {
    const ending = new AbortController();
    let address: (url: string) => void = () => {};
    const begun = new Promise<string>((resolve) => {
      address = resolve;
    });
    const output: string[] = [];
    const running = runCli(["status", "--serve", ...args], {
      signal: ending.signal,
      onOutput: (text) => {
        output.push(text);
        const found = /http:\/\/\S+/.exec(text)?.[0];
        if (found !== undefined) address(found);
      },
    });
    await look(await begun);
    const began = performance.now();
    ending.abort(new Error("Ctrl-C"));
    const { code } = await running;
    return { code, output: output.join(""), endedMilliseconds: performance.now() - began };
  }

  it("serves the page on 127.0.0.1, and ends at once with 0 although a browser is connected", async () => {
    const database = await server.createDatabase();
    const { code, output, endedMilliseconds } = await served(["--url", url(database)], async (address) => {
      expect(address).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/$/);
      expect(await (await fetch(address)).text()).toContain('<h2 id="health-title">Health now</h2>');
      const status = (await (await fetch(`${address}status.json`)).json()) as Status;
      expect(status.database).toBe(database);
      // Left open.
      connect(Number(new URL(address).port), "127.0.0.1").on("error", () => {});
    });
    expect([code, endedMilliseconds < 2_000]).toEqual([0, true]);
    expect(output).not.toContain("token");
    expect(output).not.toContain(server.superuser.password);
  });

  it("prints the token once where others may come, with a warning", async () => {
    const { output } = await served(
      ["--host", "0.0.0.0", "--url", url(await server.createDatabase())],
      async (address) => {
        const { port, search } = new URL(address);
        expect((await fetch(`http://127.0.0.1:${port}/`)).status).toBe(401);
        const entered = await fetch(`http://127.0.0.1:${port}/${search}`, { redirect: "manual" });
        expect([entered.status, entered.headers.get("location")]).toEqual([303, "/"]);
      },
    );
    expect(output.match(/token=/g)).toHaveLength(1);
    expect(output).toContain("nothing is encrypted on the way");
  });

  it("says why it cannot serve there", async () => {
    const database = await server.createDatabase();
    await served(["--url", url(database)], async (address) => {
      const again = await runCli([
        "status",
        "--serve",
        "--port",
        new URL(address).port,
        "--url",
        url(database),
      ]);
      expect(again).toMatchObject({ code: 3, stderr: expect.stringContaining("EADDRINUSE") });
    });
  });
});
