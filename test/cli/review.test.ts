import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { renderCheckReference } from "../../lib/cli/check-reference.ts";
import { exitCodeOf, parseDuration } from "../../lib/cli/review.ts";
import { generateCommand } from "../../lib/config/reference.ts";
import type { ReviewReport } from "../../lib/review/run.ts";
import { runCli, urlOf } from "../helpers/cli.ts";
import { useServer } from "../helpers/postgres.ts";
import { checkNamed, findingOf, reportOf, resultOf } from "../helpers/review-report.ts";

describe("pgkeep review", () => {
  const server = useServer();
  const scratch = mkdtempSync(join(tmpdir(), "pgkeep-review-"));
  afterAll(() => rmSync(scratch, { recursive: true }));
  const url = (database: string) => urlOf(server.target(database) as Parameters<typeof urlOf>[0]);

  it("gives one JSON document with every check, and the same in a file", async () => {
    const database = await server.createDatabase();
    const directory = join(scratch, "reports");
    const run = await runCli([
      "review",
      "--json",
      "--format",
      "json",
      "--out",
      directory,
      "--url",
      url(database),
    ]);
    const report = JSON.parse(run.stdout) as ReviewReport;
    expect(report).toMatchObject({ version: 1, database, window: { statisticsSince: expect.any(String) } });
    const [file = ""] = readdirSync(directory);
    expect(file).toBe(`database-review-${report.startedAt.slice(0, 10)}.json`);
    expect(JSON.parse(readFileSync(join(directory, file), "utf8"))).toEqual(report);
    expect(run.stderr).toBe(`The report is in ${join(directory, file)}\n`);
  });

  it("writes one page, with the sizes of the tables, whatever their names", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await session.query(`create table public."</script><b>" as select n from generate_series(1, 1000) n`);
    await session.query("analyze");
    await session.close();
    const directory = join(scratch, "pages");
    const run = await runCli(["review", "--format", "html", "--out", directory, "--url", url(database)]);
    const [file = ""] = readdirSync(directory);
    expect(file).toMatch(/^database-review-\d{4}-\d\d-\d\d\.html$/);
    const page = readFileSync(join(directory, file), "utf8");
    expect(page).toMatch(/^<!DOCTYPE html>/);
    expect(page).toContain("<bdi>public</bdi>.<bdi>&lt;/script&gt;&lt;b&gt;</bdi>");
    expect(page).not.toContain("</script><b>");
    expect(run.stderr).toContain(`The report is in ${join(directory, file)}\n`);
  });

  it("compares with an earlier one by its file", async () => {
    const database = await server.createDatabase();
    const file = join(scratch, "earlier.json");
    const gone = findingOf({ check: "no-longer-asked" });
    writeFileSync(
      file,
      JSON.stringify(reportOf([resultOf("no-longer-asked", { findings: [gone] })], { database })),
    );
    const run = await runCli(["review", "--json", "--compare", file, "--url", url(database)]);
    expect((JSON.parse(run.stdout) as ReviewReport).comparison).toMatchObject({
      since: "2026-11-21T12:00:00.000Z",
      fixed: [],
      unknown: [{ key: gone.key, reason: "the check was not asked this time" }],
    });
    const other = await runCli(["review", "--compare", file, "--url", url("postgres")]);
    expect(other).toMatchObject({ code: 2, stdout: "" });
  });

  it("does not count what a file accepts, by option or by setting", async () => {
    const database = await server.createDatabase();
    const session = await server.connect(database);
    await session.query("create table public.t (a int)");
    await session.query("create index one on public.t (a)");
    await session.query("create index two on public.t (a)");
    await session.close();
    const accepted = "suppressions:\n  - { key: duplicate-indexes/*, reason: known, expires: 2999-12-31 }\n";
    writeFileSync(join(scratch, "accepted.yaml"), accepted);
    writeFileSync(join(scratch, "pgkeep.yaml"), "review: { suppressions: accepted.yaml }\n");
    const args = ["review", "--only", "duplicate-indexes", "--fail-on", "low", "--url", url(database)];
    expect((await runCli(args)).code).toBe(1);
    const byOption = await runCli([...args, "--suppressions", join(scratch, "accepted.yaml")]);
    expect(byOption.code).toBe(0);
    expect(byOption.stdout).toContain(
      "Suppressed:\n  duplicate-indexes/*: known (until 2999-12-31): 1 finding\n",
    );
    expect((await runCli(args, { workingDirectory: scratch })).code).toBe(0);
    const fixes = join(scratch, "migrations");
    expect((await runCli([...args, "--fixes", fixes])).stderr).toBe(`1 migration written to ${fixes}\n`);
    expect(readdirSync(fixes).map((name) => name.replace(/-[0-9a-f]{8}\./, "."))).toEqual([
      "50-drop-duplicate-indexes-public-two.down.sql",
      "50-drop-duplicate-indexes-public-two.up.sql",
    ]);
    writeFileSync(join(scratch, "broken.yaml"), "a: [");
    const broken = await runCli([...args, "--suppressions", join(scratch, "broken.yaml")]);
    expect(broken).toMatchObject({ code: 2, stdout: "" });
    expect(broken.stderr).toContain("broken.yaml is no YAML");
  });

  it.each([
    [["--compare", "/nowhere.json"], "the file of --compare cannot be read"],
    [["--suppressions", "/nowhere.yaml"], "the file of --suppressions cannot be read"],
    [["--only", "no-such-check"], "--only names no check of the review"],
    [["--fail-on", "bad"], "is not a severity"],
    [["--observe", "2h"], "is no time to observe for"],
    [["--budget", "0"], "is not a whole number"],
    [["--format", "pdf"], "Allowed choices are"],
  ])("refuses %s", async (args, message) => {
    const run = await runCli(["review", ...args, "--url", url("postgres")]);
    expect(run).toMatchObject({ code: 2, stdout: "" });
    expect(run.stderr).toContain(message);
  });

  it("exits with 3 when the directory cannot be written", async () => {
    const run = await runCli([
      "review",
      "--out",
      join(import.meta.filename, "below"),
      "--url",
      url("postgres"),
    ]);
    expect(run.code).toBe(3);
    expect(run.stderr).toContain("the report cannot be written");
  });

  it("exits with 3 when the server cannot be reached, or a replica that was given", async () => {
    const gone = "postgres://a:secret@127.0.0.1:1/b";
    for (const args of [
      ["--url", gone],
      ["--url", url("postgres"), "--replica", gone],
    ]) {
      const run = await runCli(["review", ...args]);
      expect(run).toMatchObject({ code: 3, stdout: "" });
      expect(run.stderr).toContain("cannot reach 127.0.0.1:1/b as a");
    }
  });
});

describe("the exit code of a review", () => {
  const high = resultOf("a", { findings: [findingOf({ severity: "high" })] });
  const unseen = resultOf("b", { reason: "no right" });

  it("is 1 only for a finding as bad as asked for", () => {
    const report = reportOf([high, unseen]);
    expect(
      [undefined, "critical", "high", "low"].map((limit) => exitCodeOf(report, limit as "high")),
    ).toEqual([0, 0, 1, 1]);
  });

  it("is 3 when nothing could be assessed, or not everything was asked and nothing bad enough was found", () => {
    expect(exitCodeOf(reportOf([unseen]), undefined)).toBe(3);
    expect(exitCodeOf(reportOf([]), undefined)).toBe(3);
    const half = reportOf([high], { incomplete: "the connection was lost" });
    expect([exitCodeOf(half, undefined), exitCodeOf(half, "critical"), exitCodeOf(half, "high")]).toEqual([
      3, 3, 1,
    ]);
  });
});

it("reads durations", () => {
  expect(["60", "60s", "5m", "1min", "60m"].map(parseDuration)).toEqual([60, 60, 300, 60, 3_600]);
  for (const text of ["", "0", "61m", "1h", "-1", "1e3", "s"]) expect(() => parseDuration(text)).toThrow();
});

describe("docs/checks.md", () => {
  it("is up to date", () => {
    const committed = readFileSync(new URL("../../docs/checks.md", import.meta.url), "utf8");
    expect(committed === renderCheckReference(), `docs/checks.md is stale: run ${generateCommand}`).toBe(
      true,
    );
  });

  it("says what each check asks and needs, by area", () => {
    const needy = {
      ...checkNamed("needy"),
      needs: { extensions: ["hypopg"], memberOf: ["pg_monitor"], primary: true as const },
    };
    expect(renderCheckReference([needy]).split("\n").slice(7)).toEqual([
      "## Settings",
      "",
      "| check   | question       | needs                                                       |",
      "| ------- | -------------- | ----------------------------------------------------------- |",
      "| `needy` | Is needy well? | extension `hypopg`, the rights of `pg_monitor`, the primary |",
      "",
    ]);
  });
});
