import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { packageRoot } from "../../lib/package-root.ts";

/** bin/app.ts as `cdk synth` starts it, on a file of this text. */
function synthesize(
  text: string,
  others: Record<string, string> = {},
): { code: number | null; stderr: string; written: string[] } {
  const directory = mkdtempSync(join(tmpdir(), "pgkeep-bad-"));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const file = join(directory, "given.yaml");
  const output = join(directory, "out");
  writeFileSync(file, text);
  for (const [name, content] of Object.entries(others)) writeFileSync(join(directory, name), content);
  const { status, stderr } = spawnSync(process.execPath, ["--import", "tsx", "bin/app.ts"], {
    cwd: packageRoot,
    encoding: "utf8",
    env: {
      PATH: process.env.PATH ?? "",
      CDK_OUTDIR: output,
      CDK_CONTEXT_JSON: JSON.stringify({ config: file }),
    },
  });
  const written = readdirSync(directory).includes("out") ? readdirSync(output) : [];
  return { code: status, stderr, written: written.filter((name) => name.endsWith(".json")) };
}

describe("synthesis of what AWS would refuse ends with 2, and leaves nothing behind", () => {
  it.each([
    [
      "a replica of a cluster",
      "{database: {topology: multi-az-cluster}, replicas: {count: 3}}",
      /replicas\.count.*a multi-az-cluster has exactly 2 readable standbys \(leave it out/,
    ],
    [
      "a reader endpoint of the proxy on an instance",
      "pooling: {readerEndpoint: true}",
      /pooling\.readerEndpoint.*serves its writer only; leave it out/,
    ],
    [
      "retention of 0",
      "backups: {pointInTimeRecoveryDays: 0}",
      /backups\.pointInTimeRecoveryDays.*0 is not allowed; a whole number from 1 to 35/,
    ],
    [
      "a backup window in the maintenance window",
      '{backups: {window: "04:00-04:30"}, maintenance: {window: "sun:04:00-sun:05:00"}}',
      /maintenance\.window.*sun:04:00-sun:05:00 overlaps backups\.window/,
    ],
    [
      "a window in which a job runs, in its time zone",
      '{backups: {window: "00:30-01:00"}, schedules: {timeZone: Europe/Berlin}}',
      /backups\.window: 00:30-01:00 UTC meets vacuum.* in Europe\/Berlin\)[\s\S]*move the window, or the job with schedules\.vacuum/,
    ],
    [
      "a class without memory for the connections",
      "database: {instanceClass: t4g.micro, maxConnections: 500}",
      /database\.maxConnections: 500 connections do not fit into the memory of t4g\.micro[\s\S]*choose a larger database\.instanceClass/,
    ],
    [
      "a replica elsewhere without the region at home",
      "replicas: {disasterRecovery: {region: us-east-1}}",
      /replicas\.disasterRecovery\.region.*give account\.region/,
    ],
  ])("%s", { timeout: 120_000 }, (_, text, message) => {
    const { code, stderr, written } = synthesize(text);
    expect(stderr).toMatch(message);
    expect(stderr).not.toMatch(/\bat .*\.ts:\d+/);
    expect({ code, written }).toEqual({ code: 2, written: [] });
  });

  it("a file of suppressions with a day that is none", { timeout: 120_000 }, () => {
    const { code, stderr, written } = synthesize("review:\n  suppressions: accepted.yaml\n", {
      "accepted.yaml": "suppressions:\n\n  - { key: a/x, reason: known, expires: 2027-02-29 }\n",
    });
    expect(stderr).toMatch(
      /review\.suppressions \(line 2\): .*accepted\.yaml is no file of suppressions:\n +number 1 \(line 3\): expires is not a day/,
    );
    expect(stderr).not.toMatch(/\bat .*\.ts:\d+/);
    expect({ code, written }).toEqual({ code: 2, written: [] });
  });
});
