import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { filterPattern, logMetrics } from "../../lib/alarms/log-metrics.ts";
import { connect } from "../../lib/postgres/connect.ts";
import { eventually } from "../checks/helpers.ts";
import { allMajors, useServer } from "../helpers/postgres.ts";

/** What CloudWatch makes of a filter of alternatives: a line with one of the quoted texts matches. */
function matches(pattern: string, line: string): boolean {
  const texts = [...pattern.matchAll(/\?"([^"]*)"/g)].map((match) => match[1] ?? "");
  return texts.some((text) => line.includes(text));
}

describe.each(allMajors)("refused logins in the log of PostgreSQL %i", (major) => {
  const server = useServer(major, {
    settings: {
      logging_collector: "on",
      log_directory: "log",
      log_filename: "test.log",
      log_statement: "all",
    },
  });
  const lines = async () => {
    const text = await readFile(join(server.dataDirectory, "log", "test.log"), "utf8");
    return text.split("\n").filter((line) => matches(filterPattern(logMetrics.FailedLogins), line));
  };

  it("are one line each, and logins that succeed are none", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await session.query("create role known login password 'right'");
    await session.close();
    await (await server.connect(database, { user: "known", password: "right" })).close();
    expect(await lines()).toEqual([]);
    for (const login of [
      { user: "known", password: "wrong" },
      { user: "nobody\nhas this name", password: "x" },
    ]) {
      await expect(connect({ ...server.target(database), ...login })).rejects.toThrow(
        "authentication failed",
      );
    }
    const found = await eventually("two lines", async () => {
      const now = await lines();
      return now.length >= 2 ? now : undefined;
    });
    expect(found).toEqual([
      expect.stringMatching(/FATAL: {2}password authentication failed for user "known"/),
      expect.stringMatching(/FATAL: {2}password authentication failed for user "nobody/),
    ]);
  });

  it("count logins that pg_hba.conf has no line for", async () => {
    const database = await server.createDatabase();
    const before = (await lines()).length;
    const path = join(server.dataDirectory, "pg_hba.conf");
    await writeFile(path, "host all postgres 127.0.0.1/32 scram-sha-256\n");
    const session = await server.connect(database);
    await session.query("create role unlisted login password 'x'");
    await session.query("select pg_reload_conf()");
    await eventually("the rules are read", async () => {
      const error = await connect({ ...server.target(database), user: "unlisted", password: "x" }).then(
        (other) => other.close(),
        (cause: unknown) => cause,
      );
      return /pg_hba.conf/.test(String(error)) ? error : undefined;
    });
    await session.close();
    // The collector writes the file, some time after the refusal.
    const after = await eventually("its line", async () => {
      const now = await lines();
      return now.length > before ? now : undefined;
    });
    expect(after.at(-1)).toMatch(/no pg_hba.conf entry for host/);
  });
});
