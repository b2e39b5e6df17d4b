import { describe, expect, it } from "vitest";
import { alarmsFor, catalogue } from "../../../lib/alarms/catalogue.ts";
import { faultNamed } from "../../../lib/sandbox/faults/index.ts";
import { configFor } from "../../helpers/config.ts";
import { contextOf } from "../contexts.ts";
import { committedRow, entryOf, notDrilledLines, readPart, rowOf, writePart, writes } from "./document.ts";
import { adjusted, lowered } from "./drill.ts";
import { drillConfig, notDrilled, waves } from "./drills.ts";

const drills = waves.flatMap((wave) => wave.drills);
const config = configFor("shop", drillConfig);

describe("the table of drills", () => {
  it("has every entry of the catalogue in exactly one of its lists", () => {
    const drilled = new Set(drills.map(({ alarm }) => entryOf(alarm).name));
    const others = notDrilled.map(({ entry }) => entry);
    expect(new Set(others).size).toBe(others.length);
    expect(others.filter((entry) => drilled.has(entry))).toEqual([]);
    expect([...drilled, ...others].sort()).toEqual(catalogue.map(({ name }) => name).sort());
  });

  it("drills alarms that this database has, by faults that name their entry", () => {
    const names = new Set(alarmsFor(contextOf(config)).map(({ name }) => name));
    for (const { alarm, fault } of drills) {
      expect(names, alarm).toContain(alarm);
      expect(faultNamed(fault).alarms, fault).toContain(entryOf(alarm).name);
    }
  });

  it("lowers settings that its alarms depend on", () => {
    for (const { name, drills: together } of waves) {
      const before = new Map(alarmsFor(contextOf(config)).map((one) => [one.name, one.threshold]));
      const own = together.filter(({ limit, lowers }) => limit !== undefined || lowers !== undefined);
      const after = adjusted(alarmsFor(contextOf(lowered(config, together))), together);
      for (const { alarm, limit, lowers } of own) {
        const threshold = after.find((one) => one.name === alarm)?.threshold;
        expect(threshold, `${name}: ${alarm}`).toBeDefined();
        if (limit !== undefined) expect(threshold).not.toBe(before.get(alarm));
        // Limits of the health check lie before its count of findings.
        const isAlarms = Object.keys(lowers ?? {}).some((path) => path.startsWith("alarms."));
        if (isAlarms) expect(threshold, `${name}: ${alarm}`).not.toBe(before.get(alarm));
      }
    }
    expect(() => lowered(config, [{ alarm: "", fault: "", lowers: { "alarms.nothing": 1 } }])).toThrow(
      /no setting alarms\.nothing/,
    );
  });

  it("is in the document, drilled and not drilled", () => {
    if (writes) writePart("not-drilled", notDrilledLines(notDrilled));
    expect(readPart("not-drilled")).toEqual(notDrilledLines(notDrilled));
    for (const drill of drills) {
      const committed = committedRow(drill);
      const row = rowOf(drill, { seconds: committed?.seconds, told: 1, cleared: committed?.cleared ?? "no" });
      if (writes) continue;
      expect(committed, `${drill.alarm} by ${drill.fault}`).toEqual({
        alarm: row.alarm,
        fault: row.fault,
        lowered: row.lowered,
        seconds: drill.grows === true ? undefined : expect.any(Number),
        told: 1,
        cleared: expect.stringMatching(/^(?:yes|without data)$/),
      });
    }
  });
});
