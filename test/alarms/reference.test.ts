import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { catalogue, notCovered } from "../../lib/alarms/catalogue.ts";
import { generateCommand } from "../../lib/config/reference.ts";
import { renderAlarmReference } from "../../lib/constructs/alarm-reference.ts";

describe("docs/alarms.md", () => {
  const text = renderAlarmReference();

  it("is up to date", () => {
    const committed = readFileSync(new URL("../../docs/alarms.md", import.meta.url), "utf8");
    expect(committed === text, `docs/alarms.md is stale: run ${generateCommand}`).toBe(true);
  });

  it("has a complete row for each entry, and what is not covered", () => {
    for (const { name } of catalogue) {
      const rows = text.split("\n").filter((line) => line.startsWith(`| [${name}](runbook.md#${name})`));
      expect(rows, name).toHaveLength(1);
      const cells = (rows[0] ?? "").split(" | ").map((cell) => cell.trim());
      expect(
        cells.slice(1, 5).every((cell) => cell !== ""),
        rows[0],
      ).toBe(true);
      expect(rows[0]).not.toContain("NaN");
    }
    for (const { what } of notCovered) expect(text).toContain(what);
  });
});
