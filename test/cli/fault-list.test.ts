import { expect, it } from "vitest";
import { faultList } from "../../lib/cli/fault-list.ts";
import { faults, faultUsage } from "../../lib/sandbox/faults/index.ts";

it("lists every fault on lines that fit a terminal, with all that it says", () => {
  const lines = faultList(faults).split("\n");
  expect(lines.filter((line) => line.length > 80)).toEqual([]);
  const names = lines.filter((line) => !line.startsWith("      "));
  expect(names).toEqual(faults.map((fault) => `  ${faultUsage(fault)}`));
  const words = lines
    .filter((line) => line.startsWith("      "))
    .join(" ")
    .replace(/\s+/g, " ")
    .trim();
  expect(words).toBe(faults.map(({ summary }) => summary).join(" "));
});
