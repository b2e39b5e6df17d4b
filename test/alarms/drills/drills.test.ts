import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Page } from "../../../lib/alarms/page/page.ts";
import { pageText } from "../../../lib/alarms/page/text.ts";
import type { DatabaseConfig } from "../../../lib/config/schema.ts";
import { configFor } from "../../helpers/config.ts";
import {
  committedRow,
  drillLines,
  isCloseTo,
  type Row,
  regenerateCommand,
  rowOf,
  writePart,
  writes,
} from "./document.ts";
import { type Drill, runWave } from "./drill.ts";
import { type DrillSandbox, startDrillSandbox, type Told } from "./drill-sandbox.ts";
import { drillConfig, waves } from "./drills.ts";
import { runbookDrill } from "./runbook-drill.ts";

const everything = process.env.PGKEEP_ALARM_DRILLS === "all";
const wanted = process.env.PGKEEP_ALARM_DRILLS;
const chosen = waves.filter(
  ({ name, slow }) => everything || (wanted === undefined ? slow !== true : new RegExp(wanted).test(name)),
);

/** What somebody reads at night. */
function expectMessage(drill: Drill, message: Told | undefined, { key }: DatabaseConfig): void {
  const page = message?.page as Page;
  const text = pageText(page);
  expect(page.title).toContain(`${key}: `);
  expect(page.command, text).toMatch(/^(?:npx pgkeep|aws|psql) /);
  expect(text).toContain(`run: ${page.command}`);
  expect(text).toMatch(/^(?:cause|likely): \S/m);
  if (drill.names !== undefined) {
    expect(page.cause.from, text).toBe("look");
    expect(text).toMatch(drill.names);
  }
}

describe("each alarm is told once while its fault is on, and once when it is over", () => {
  const config = configFor("shop", drillConfig);
  const rows: Row[] = [];
  let sandbox: DrillSandbox;

  beforeAll(async () => {
    sandbox = await startDrillSandbox({ config });
  });
  afterAll(async () => {
    await sandbox?.stop();
    if (writes) writePart("drilled", drillLines(rows));
  });

  it.each(chosen)("$name", async (wave) => {
    const runbook = runbookDrill(sandbox, config, { thoroughly: everything });
    const result = await runWave(sandbox, config, wave, runbook);
    const problems = [
      ...result.notQuiet.map((text) => `without a fault: ${text}`),
      ...result.unexpected.map((text) => `told besides: ${text}`),
      ...runbook.problems,
      ...result.notCured.map((alarm) => `${alarm}: still on after what docs/runbook.md says was done`),
      ...result.results
        .filter(({ told, cleared }) => told !== 1 || cleared === "no")
        .map(({ drill, told, cleared }) => `${drill.alarm}: told ${told} times, cleared: ${cleared}`),
    ];
    const failures = sandbox.failures.map(({ job, reason }) => `run that failed: ${job}: ${reason}`);
    const told = sandbox.told.map(({ alarm, to, at }) => `told: ${alarm.name} ${to} at ${at.toISOString()}`);
    expect(problems, [...failures, ...told].join("\n")).toEqual([]);
    for (const { drill, secondsToMessage, told, cleared, message } of result.results) {
      const row = rowOf(drill, { seconds: secondsToMessage, told, cleared });
      rows.push(row);
      expectMessage(drill, message, config);
      if (writes) continue;
      const committed = committedRow(drill);
      expect({ ...row, severity: "", seconds: 0 }, `${drill.alarm}: ${regenerateCommand}`).toEqual({
        severity: "",
        ...committed,
        seconds: 0,
      });
      expect(
        isCloseTo(row.seconds, committed?.seconds),
        `${drill.alarm} was told after ${secondsToMessage} s, the document says ${committed?.seconds} s: ${regenerateCommand}`,
      ).toBe(true);
    }
  });
});
