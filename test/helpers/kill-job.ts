import { spawn } from "node:child_process";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { expect } from "vitest";
import type { Job, JobResult } from "../../lib/jobs/job.ts";
import { runJob } from "../../lib/jobs/runner.ts";
import { configFor } from "./config.ts";
import { portsFor } from "./ports.ts";
import type { TestServer } from "./postgres.ts";

type Sections = Record<string, unknown>;

/**
 * Runs the job in a process of its own and kills that with SIGKILL so many milliseconds after its first line of
 * progress; with `Infinity` it is waited for.
 * @returns whether the run had ended by itself, and how long it went on
 */
export async function killJobAfter(
  server: TestServer,
  database: string,
  job: Job,
  sections: Sections,
  milliseconds: number,
): Promise<{ isWhole: boolean; milliseconds: number }> {
  const child = spawn(
    process.execPath,
    [
      "--import",
      "tsx",
      join(import.meta.dirname, "job-child.ts"),
      job.name,
      JSON.stringify(server.target(database)),
      JSON.stringify(sections),
    ],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  const gone = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  let said = "";
  await new Promise<void>((resolve) => {
    child.stdout.on("data", (text: Buffer) => {
      said += text.toString();
      resolve();
    });
    void gone.then(resolve);
  });
  const begin = performance.now();
  await (milliseconds === Number.POSITIVE_INFINITY ? gone : Promise.race([delay(milliseconds), gone]));
  child.kill("SIGKILL");
  await gone;
  expect(child.exitCode ?? 0, "the process of the job broke down by itself").toBe(0);
  return {
    isWhole: /^(succeeded|failed)$/m.test(said),
    milliseconds: Math.round(performance.now() - begin),
  };
}

/** The next run after a kill, once the server has seen that the killed one is gone: until then it keeps its lock. */
export async function runAfterKill(
  server: TestServer,
  database: string,
  job: Job,
  sections: Sections,
  where: string,
): Promise<JobResult> {
  for (let skipped = 0; ; skipped += 1) {
    const result = await runJob(job, {
      ports: portsFor(server.target(database)),
      config: configFor(database, sections),
    });
    if (result.outcome === "skipped" && skipped < 200) {
      await delay(50);
      continue;
    }
    expect(result.error, where).toBeUndefined();
    expect(result.reason, where).toBeUndefined();
    expect(result.outcome, where).toBe("succeeded");
    return result;
  }
}
