import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { OnceReport } from "../../lib/cli/sandbox-once.ts";
import { jobs } from "../../lib/jobs/index.ts";
import type { JobResult } from "../../lib/jobs/job.ts";
import { packageRoot } from "../../lib/package-root.ts";
import { requestStatus } from "../../lib/sandbox/control.ts";
import type { SandboxState } from "../../lib/sandbox/state.ts";
import type { Status } from "../../lib/status/status.ts";
import { runCli } from "../helpers/cli.ts";
import { allMajors, defaultMajor } from "../helpers/postgres.ts";

/** What differs between versions has tests of its own; between these two lies most. */
const oldest = String(allMajors[0] ?? defaultMajor);
const newest = String(allMajors.at(-1) ?? defaultMajor);

const home = mkdtempSync(join(tmpdir(), "pgkeep-home-"));
afterAll(() => rmSync(home, { recursive: true, force: true }));

const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) if (child.exitCode === null) child.kill("SIGKILL");
});

/** The command as its own process, the way a user runs it. */
function start(args: readonly string[]) {
  const child = spawn(process.execPath, ["--import", "tsx", join(packageRoot, "bin", "pgkeep.ts"), ...args], {
    cwd: packageRoot,
    env: { ...process.env, HOME: home, DATABASE_URL: "" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  children.push(child);
  const output = { stdout: "", stderr: "" };
  child.stdout?.setEncoding("utf8").on("data", (text: string) => {
    output.stdout += text;
  });
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    output.stderr += text;
  });
  const ended = new Promise<number | null>((resolve) => child.once("close", (code) => resolve(code)));
  return { child, output, ended };
}

/** The same command line in this process, which saves loading everything once more. */
const run = (args: readonly string[]) => runCli(args, { homeDirectory: home, workingDirectory: packageRoot });

type Found<T> = T | undefined | null | false;

async function until<T>(what: string, look: () => Found<T> | Promise<Found<T>>, seconds = 60): Promise<T> {
  const end = Date.now() + seconds * 1_000;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== null && found !== false) return found;
    if (Date.now() > end) throw new Error(`waited ${seconds} s for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const named = (report: OnceReport, job: string): JobResult | undefined =>
  report.jobs.findLast((result) => result.job === job);

describe("pgkeep sandbox --once --json", () => {
  it("does every job for real on the oldest PostgreSQL and leaves nothing", {
    timeout: 180_000,
  }, async () => {
    const { code, stdout, stderr } = await run(["sandbox", "--once", "--json", "--postgres", oldest]);
    expect(code, stderr).toBe(0);
    const report = JSON.parse(stdout) as OnceReport;
    expect(report.outcome).toBe("succeeded");
    expect(report.ready.replicas).toHaveLength(2);
    expect(report.jobs.map(({ job, outcome }) => [job, outcome])).toEqual(
      jobs.map(({ name }) => [name, "succeeded"]),
    );
    expect(report.jobs.map(({ recorded, warnings }) => [recorded, warnings])).toEqual(
      report.jobs.map(() => [true, []]),
    );
    const drill = named(report, "drill-restore")?.report as unknown as {
      rtoSeconds: number;
      rpoSeconds: number;
      restoredTo: string;
      proofs: { name: string; ok: boolean; detail: string }[];
      tablesProved: number;
    };
    expect(drill.rtoSeconds).toBeGreaterThan(0);
    expect(drill.rpoSeconds).toBeGreaterThan(0);
    expect(Date.parse(drill.restoredTo)).not.toBeNaN();
    expect(drill.proofs.filter(({ ok }) => !ok)).toEqual([]);
    expect(drill.proofs.length).toBeGreaterThan(5);
    const directory = /sandbox\.json|pgkeep-[0-9a-f]{12}/.exec(stdout + stderr);
    if (directory !== null) expect(existsSync(join(tmpdir(), directory[0]))).toBe(false);
    // A check may speak of passwords; none is handed out.
    expect(stdout).not.toMatch(/"password[^"]*": *"|postgres:\/\/[^"]*@/i);
  });

  it("exits with 3 when a page was broken before the drill, and names the table", {
    timeout: 180_000,
  }, async () => {
    const { code, stdout } = await run([
      ...["sandbox", "--once", "--json", "--replicas", "0", "--fault", "corrupt-page"],
      ...["--postgres", newest],
    ]);
    expect(code).toBe(3);
    const report = JSON.parse(stdout) as OnceReport;
    expect(report.outcome).toBe("failed");
    expect(report.faults.map(({ name }) => name)).toEqual(["corrupt-page"]);
    expect(named(report, "drill-restore")).toMatchObject({
      outcome: "failed",
      reason: expect.stringMatching(/\(shop\.[a-z_]+\)/),
    });
    expect(report.jobs.filter(({ outcome }) => outcome !== "succeeded").map(({ job }) => job)).toEqual([
      "drill-restore",
    ]);
    expect(new Set(report.jobs.map(({ job }) => job)).size).toBe(jobs.length);
  });
});

describe("a running sandbox", () => {
  let sandbox: ReturnType<typeof start>;
  let state: SandboxState;

  beforeAll(async () => {
    sandbox = start(["sandbox", "--replicas", "1", "--postgres", newest]);
    children.splice(0);
    const pointers = join(home, ".local", "state", "pgkeep", "sandboxes");
    const pointer = await until(
      "the pointer",
      () => existsSync(pointers) && readdirSync(pointers).find((name) => name.endsWith(".json")),
      120,
    );
    const { directory } = JSON.parse(readFileSync(join(pointers, pointer), "utf8")) as { directory: string };
    state = JSON.parse(readFileSync(join(directory, "sandbox.json"), "utf8")) as SandboxState;
    await until("the first drill", () => /drill-restore succeeded/.test(sandbox.output.stdout), 120);
  }, 240_000);

  afterAll(() => {
    if (sandbox.child.exitCode === null) sandbox.child.kill("SIGKILL");
  });

  it("prints plain lines where there is no terminal: where it is, and each job's outcome", () => {
    expect(sandbox.output.stdout).toContain(`primary 127.0.0.1:${state.primary.port}`);
    for (const job of ["check-health", "route-replicas", "back-up", "vacuum"]) {
      expect(sandbox.output.stdout).toMatch(new RegExp(`^\\S+Z ${job} succeeded in `, "m"));
    }
  });

  it("tells whoever asks of every alarm that it evaluates", { timeout: 60_000 }, async () => {
    // They begin when every job has run once.
    const names = await until("the alarms", async () => {
      const { alarms } = (await requestStatus(state)) as { alarms: { name: string; state: string }[] };
      return alarms.length > 0 && alarms.map(({ name }) => name);
    });
    expect(names).toEqual(
      expect.arrayContaining(["database-down", "replica-lag-replica-1", "free-storage", "backup-absent"]),
    );
  });

  const statusUrl = () =>
    /^status page: (http:\/\/127\.0\.0\.1:\d+\/)$/m.exec(sandbox.output.stdout)?.[1] ?? "";

  it("serves its status as a page, with everything known, and as the command shows it", {
    timeout: 120_000,
  }, async () => {
    const page = await (await fetch(statusUrl())).text();
    expect(page).toContain(`<h1>Status of <bdi>${state.database}</bdi></h1>`);
    const served = (await (await fetch(`${statusUrl()}status.json`)).json()) as Status;
    const { code, stdout } = await run(["status", "--json"]);
    expect(code).toBe(0);
    for (const status of [served, JSON.parse(stdout) as Status]) {
      const { alarms, ...others } = status.parts;
      for (const [name, part] of Object.entries(others)) expect([name, part.state]).toEqual([name, "known"]);
      // They are evaluated from the first whole minute on.
      expect(["known", "absent"]).toContain(alarms.state);
      expect(status.parts).toMatchObject({
        routing: { data: { stale: false, document: { replicas: [{ name: "replica-1" }] } } },
        backups: { data: { recovery: { newestBackupAt: expect.stringMatching(/Z$/) } } },
        drill: { data: { last: { outcome: "succeeded", rtoSeconds: expect.any(Number) } } },
        jobs: { data: { scheduled: true } },
      });
      expect(JSON.stringify(status)).not.toContain(state.superuser.password);
      expect(JSON.stringify(status)).not.toContain(state.roles.monitoring.password);
    }
  });

  it("is what other commands work with when no URL is given", { timeout: 120_000 }, async () => {
    const health = await run(["health", "--json"]);
    expect([health.code, health.stderr]).toEqual([0, expect.any(String)]);
    expect(JSON.parse(health.stdout)).toMatchObject({ database: state.database });
    const list = await run(["backup", "list", "--json"]);
    expect(list.code).toBe(0);
    expect(list.stdout).toContain("pgkeep-");
    const routing = await run(["routing", "show"]);
    expect([routing.code, routing.stdout]).toEqual([0, expect.stringMatching(/replica-1\s.*serving/)]);
    const plan = await run(["run", "vacuum", "--dry-run"]);
    expect(plan.code).toBe(0);
    const roles = await run(["roles", "audit"]);
    expect([roles.code, roles.stdout + roles.stderr]).toEqual([0, expect.any(String)]);
  });

  it.skipIf(Number(newest) < 16)(
    "still has its health checked when the application has taken all connections, through reserved ones",
    { timeout: 120_000 },
    async () => {
      expect((await run(["sandbox", "fault", "fill-connections"])).code).toBe(0);
      const { code, stdout } = await run(["run", "check-health", "--json"]);
      expect(code).toBe(0);
      expect((JSON.parse(stdout) as JobResult).report).toMatchObject({
        results: expect.arrayContaining([
          expect.objectContaining({ check: "connections", verdict: "findings" }),
        ]) as unknown,
      });
      expect((await run(["sandbox", "fault", "fill-connections", "--repair"])).code).toBe(0);
    },
  );

  it("breaks and is repaired on request", { timeout: 120_000 }, async () => {
    const broken = await run(["sandbox", "fault", "crash-replica"]);
    expect([broken.code, broken.stdout]).toEqual([0, expect.stringMatching(/replica-1/)]);
    expect((await run(["run", "route-replicas"])).code).toBe(0);
    expect((await run(["routing", "show"])).stdout).toMatch(/replica-1\s.*unreachable/);
    expect((await run(["sandbox", "fault", "crash-replica", "--repair"])).code).toBe(0);
    expect((await run(["run", "route-replicas"])).code).toBe(0);
    expect((await run(["routing", "show"])).stdout).toMatch(/replica-1\s.*(warming|serving)/);
  });

  it("backs up, pins, verifies and restores to a moment from another terminal", {
    timeout: 120_000,
  }, async () => {
    const json = async (...args: string[]) => {
      const { code, stdout, stderr } = await run([...args, "--json"]);
      expect([args, code, code === 0 ? "" : stderr]).toEqual([args, 0, ""]);
      return JSON.parse(stdout) as Record<string, unknown>;
    };
    const created = JSON.stringify(await json("backup", "create"));
    const id = /pgkeep-[a-z0-9-]+/.exec(created)?.[0] as string;
    await json("backup", "verify", id);
    await json("backup", "pin", id, "--reason", "a test needs it");
    const listed = await run(["backup", "list"]);
    expect(listed.stdout).toMatch(new RegExp(`${id}\\s+available.*pinned: a test needs it`));
    const { code, stdout } = await run(["backup", "prune", "--dry-run"]);
    expect([code, stdout]).toEqual([0, expect.stringContaining("kept")]);
    await json("backup", "unpin", id);
    const moment = new Date(Date.now() - 1_000).toISOString();
    const restored = JSON.stringify(await json("restore", "--to-time", moment, "--name", "by-hand"));
    expect(restored).toContain("by-hand");
    expect(restored).not.toContain(state.superuser.password);
    await json("restore", "--discard", "by-hand");
    const early = await run(["restore", "--to-time", "2020-01-01T00:00:00Z"]);
    expect([early.code, early.stderr]).toEqual([
      3,
      expect.stringMatching(/moments from .* to .* can be restored/),
    ]);
    const vague = await run(["restore", "--to-time", "yesterday"]);
    expect(vague.code).toBe(2);
  });

  it("fails its drill when WAL is lost, and names the segment", { timeout: 120_000 }, async () => {
    expect((await run(["sandbox", "fault", "lose-wal"])).code).toBe(0);
    const { code, stdout } = await run(["run", "drill-restore", "--json"]);
    expect([code, JSON.parse(stdout)]).toEqual([
      3,
      expect.objectContaining({
        outcome: "failed",
        reason: expect.stringMatching(/segment [0-9A-F]{24} is missing/),
      }),
    ]);
  });

  it("is private to its owner", () => {
    expect(JSON.stringify(sandbox.output)).not.toContain(state.superuser.password);
    expect(JSON.stringify(sandbox.output)).not.toContain(state.roles.monitoring.password);
  });

  it("ends with 0 at Ctrl-C, and nothing of it is left", { timeout: 60_000 }, async () => {
    // A browser keeps its connection.
    expect((await fetch(statusUrl())).status).toBe(200);
    sandbox.child.kill("SIGINT");
    expect(await sandbox.ended).toBe(0);
    expect(existsSync(state.directory)).toBe(false);
    const after = await run(["health"]);
    expect([after.code, after.stderr]).toEqual([3, expect.stringContaining("no sandbox is running")]);
  });
});

describe("when it cannot start", () => {
  it("says which server is not installed, and leaves nothing", { timeout: 60_000 }, async () => {
    const before = readdirSync(tmpdir()).filter((name) => /^pgkeep-[0-9a-f]{12}$/.test(name)).length;
    const { code, stdout } = await run(["sandbox", "--once", "--json", "--replicas", "99"]);
    expect([code, JSON.parse(stdout)]).toEqual([2, { error: expect.objectContaining({ code: "usage" }) }]);
    expect(
      readdirSync(tmpdir()).filter((name) => /^pgkeep-[0-9a-f]{12}$/.test(name)).length,
    ).toBeLessThanOrEqual(before);
  });

  it("ends when it is killed outright, with all its servers", { timeout: 120_000 }, async () => {
    const { child, output } = start(["sandbox", "--replicas", "1", "--postgres", String(defaultMajor)]);
    const directory = (
      await until("readiness", () => /logins and passwords: (\S+)\/sandbox\.json/.exec(output.stdout), 100)
    )[1] as string;
    const { primary, replicas, poolers } = JSON.parse(
      readFileSync(join(directory, "sandbox.json"), "utf8"),
    ) as SandboxState;
    expect(primary.port).toBeGreaterThan(0);
    child.kill("SIGKILL");
    await until("the directory to go", () => !existsSync(directory), 15);
    const listening = readFileSync("/proc/net/tcp", "utf8");
    for (const { port } of [primary, ...replicas, ...(poolers ?? [])]) {
      expect(listening).not.toMatch(
        new RegExp(`0100007F:${port.toString(16).toUpperCase().padStart(4, "0")} 00000000:0000 0A`),
      );
    }
  });
});
