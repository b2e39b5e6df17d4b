import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { RunListReport } from "../../lib/jobs/run-list.ts";
import { runCli, urlOf } from "../helpers/cli.ts";
import { useServer } from "../helpers/postgres.ts";
import { installed, password } from "../install/installed.ts";

describe("pgkeep daily, weekly, pre-deploy and post-deploy", () => {
  const server = useServer();
  const url = (database: string, login?: { user: string; password: string }) =>
    urlOf(server.target(database, login) as Parameters<typeof urlOf>[0]);

  async function configured(text: string): Promise<string> {
    const file = join(await mkdtemp(join(tmpdir(), "runs-")), "pgkeep.yaml");
    await writeFile(file, text);
    return file;
  }

  async function database(): Promise<string> {
    const { database: name, names } = await installed(server);
    return url(name, { user: names.maintenance, password });
  }

  it("run the jobs of the file in their order, and give one report", async () => {
    const target = url((await installed(server)).database);
    const config = await configured("runs: { post-deploy: { jobs: [vacuum, check-health, vacuum] } }");
    const run = await runCli(["post-deploy", "--json", "--config", config, "--url", target]);
    const report = JSON.parse(run.stdout) as RunListReport;
    expect(report).toMatchObject({ run: "post-deploy", outcome: "succeeded", notRun: [] });
    expect(report.jobs.map(({ job, outcome }) => [job, outcome])).toEqual([
      ["vacuum", "succeeded"],
      ["check-health", "succeeded"],
      ["vacuum", "succeeded"],
    ]);
    expect(run.code).toBe(0);
    const text = await runCli(["post-deploy", "--config", config, "--url", target]);
    expect(text.stdout).toMatch(/^vacuum: succeeded in .*\n[\s\S]*\npost-deploy: succeeded in /);
  });

  it("stop at the first failure where told to, and say what did not run", async () => {
    // By URL nothing can be backed up physically.
    const target = await database();
    const config = await configured("runs: { pre-deploy: { jobs: [back-up, check-health] } }");
    const run = await runCli(["pre-deploy", "--json", "--config", config, "--url", target]);
    const report = JSON.parse(run.stdout) as RunListReport;
    expect(run.code).toBe(3);
    expect(report).toMatchObject({
      outcome: "failed",
      jobs: [{ job: "back-up", outcome: "failed" }],
      notRun: [{ job: "check-health", reason: "back-up failed" }],
    });
    const text = await runCli(["pre-deploy", "--config", config, "--url", target]);
    expect(text.stdout).toContain("check-health: not run: back-up failed");
  });

  it("go on after a failure where not, and still fail", async () => {
    const config = await configured("runs: { daily: { jobs: [back-up, check-health] } }");
    const run = await runCli(["daily", "--json", "--config", config, "--url", await database()]);
    expect(run.code).toBe(3);
    expect((JSON.parse(run.stdout) as RunListReport).jobs.map(({ outcome }) => outcome)).toEqual([
      "failed",
      "succeeded",
    ]);
  });

  it("exit with 1 for a finding that counts, and a release does not go on", async () => {
    const { database: name } = await installed(server);
    const session = await server.connect(name);
    await session.query("select pg_create_physical_replication_slot('forgotten', true)");
    const target = url(name);
    const given = (failOn: string) =>
      configured(`runs: { pre-deploy: { jobs: [check-health, vacuum], failOn: ${failOn} } }`);
    const strict = await runCli(["pre-deploy", "--json", "--config", await given("low"), "--url", target]);
    expect(JSON.parse(strict.stdout)).toMatchObject({
      outcome: "findings",
      notRun: [{ job: "vacuum", reason: "check-health has findings" }],
    });
    expect(strict.code).toBe(1);
    const lenient = await runCli(["pre-deploy", "--config", await given("never"), "--url", target]);
    expect(lenient.code).toBe(0);
    await session.query("select pg_drop_replication_slot('forgotten')");
    await session.close();
  });

  it("leave out what --skip names, and refuse a name that is not theirs", async () => {
    const target = url((await installed(server)).database);
    const skipping = ["daily", "--skip", "back-up", "--dry-run", "--json", "--url", target];
    const run = await runCli(skipping);
    expect(run.code).toBe(0);
    expect((JSON.parse(run.stdout) as RunListReport).jobs.map(({ job }) => job)).toEqual([
      "check-health",
      "vacuum",
      "manage-partitions",
      "collect-history",
    ]);
    expect((await runCli([...skipping, "--skip", "backup"])).code).toBe(2);
    const others = ["vacuum", "check-health", "manage-partitions", "collect-history"];
    expect((await runCli([...skipping, ...others.flatMap((job) => ["--skip", job])])).code).toBe(2);
  });

  it("say which jobs an interrupted list did not come to", async () => {
    const interrupted = AbortSignal.abort(new Error("Ctrl-C"));
    const run = await runCli(["daily", "--json", "--url", await database()], { signal: interrupted });
    expect(run.code).toBe(3);
    expect(JSON.parse(run.stdout)).toMatchObject({
      outcome: "failed",
      jobs: [],
      notRun: [{ reason: "the run was interrupted" }, {}, {}, {}, {}],
    });
  });

  it("are refused a configuration with a job that does not exist", async () => {
    const config = await configured("runs: { daily: { jobs: [vacum] } }");
    const run = await runCli(["daily", "--config", config, "--url", url("postgres")]);
    expect(run.code).toBe(2);
    expect(run.stderr).toContain("runs.daily.jobs");
  });
});
