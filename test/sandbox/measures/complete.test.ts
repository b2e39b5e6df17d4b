import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { catalogue } from "../../../lib/alarms/catalogue.ts";
import { referencesOf, withMeasureReference } from "../../../lib/cli/measure-reference.ts";
import { generateCommand } from "../../../lib/config/reference.ts";
import { measures } from "../../../lib/sandbox/measures/index.ts";
import { unmeasured } from "../../../lib/sandbox/measures/unmeasured.ts";

const measured = measures.flatMap(({ metrics }): string[] => [...metrics]);
const listed = Object.keys(unmeasured);
/** Of AWS and of logs: pgkeep's own come from its jobs. */
const read = new Set(
  catalogue
    .flatMap((entry) => referencesOf(entry))
    .filter(({ from }) => from !== "pgkeep")
    .map(({ metric }): string => metric),
);

describe("metrics of AWS that alarms read", () => {
  it("are measured in the sandbox, or listed with the reason", () => {
    expect(read.size).toBeGreaterThan(25);
    const known = new Set([...measured, ...listed]);
    expect([...read].filter((metric) => !known.has(metric))).toEqual([]);
  });

  it("are measured once, and not listed then", () => {
    expect(measured.filter((metric, index) => measured.indexOf(metric) !== index)).toEqual([]);
    expect(measured.filter((metric) => listed.includes(metric))).toEqual([]);
  });

  it("are all that is listed, and all that is measured but what a command alone shows", () => {
    expect(listed.filter((metric) => !read.has(metric))).toEqual([]);
    expect(measured.filter((metric) => !read.has(metric))).toEqual(["ClientConnections"]);
  });

  it("are in docs/verification.md as the lists have them", () => {
    const committed = readFileSync(new URL("../../../docs/verification.md", import.meta.url), "utf8");
    expect(
      withMeasureReference(committed) === committed,
      `docs/verification.md is stale: run ${generateCommand}`,
    ).toBe(true);
    for (const metric of listed) expect(committed).toContain(`\`${metric}\``);
    expect(() => withMeasureReference("# another text")).toThrow("no part between");
  });
});
