import { describe, expect, it } from "vitest";
import { type Comparison, compare, parseEarlier, remembered } from "../../lib/review/compare.ts";
import { describeReview } from "../../lib/review/text.ts";
import { findingOf, reportOf, resultOf } from "../helpers/review-report.ts";

const found = (check: string, ...tables: string[]) =>
  resultOf(check, { findings: tables.map((table) => findingOf({ check, table })) });
const keys = ({ since: _, ...lists }: Comparison) =>
  Object.fromEntries(Object.entries(lists).map(([name, list]) => [name, list.map(({ key }) => key)]));
const nothing = { new: [], newlySeen: [], fixed: [], still: [], unknown: [] };

describe("a comparison with an earlier review", () => {
  it("tells new, fixed and still there apart", () => {
    const earlier = remembered(reportOf([found("a", "one", "two"), resultOf("b")]));
    expect(keys(compare(earlier, reportOf([found("a", "two", "three"), found("b", "four")])))).toEqual({
      ...nothing,
      new: ["a/public.three", "b/public.four"],
      fixed: ["a/public.one"],
      still: ["a/public.two"],
    });
  });

  it("never takes for fixed what nobody could look at", () => {
    const earlier = remembered(
      reportOf([found("gone", "t"), found("partly", "t", "u"), found("unasked", "t")]),
    );
    const now = reportOf([
      resultOf("gone", { reason: "no right" }),
      { ...found("partly", "u"), reason: "half of it is hidden" },
    ]);
    const comparison = compare(earlier, now);
    expect(keys(comparison)).toEqual({
      ...nothing,
      still: ["partly/public.u"],
      unknown: ["gone/public.t", "partly/public.t", "unasked/public.t"],
    });
    expect(comparison.unknown.map(({ reason }) => reason)).toEqual([
      "no right",
      "half of it is hidden",
      "the check was not asked this time",
    ]);
  });

  it("does not call new what could not be seen before", () => {
    const earlier = remembered(reportOf([resultOf("a", { reason: "no right" })]));
    expect(keys(compare(earlier, reportOf([found("a", "t"), found("later", "t")])))).toEqual({
      ...nothing,
      newlySeen: ["a/public.t", "later/public.t"],
    });
  });

  it("puts the worst first, and is printed", () => {
    const low = findingOf({ check: "a", table: "x", severity: "low" });
    const critical = findingOf({ check: "a", table: "y", severity: "critical" });
    const report = reportOf([
      resultOf("a", { findings: [low, critical] }),
      resultOf("b", { reason: "hidden" }),
    ]);
    const comparison = compare(remembered(reportOf([resultOf("a"), found("b", "z")])), report);
    expect(comparison.new.map(({ severity }) => severity)).toEqual(["critical", "low"]);
    expect(describeReview({ ...report, comparison }).join("\n")).toContain(
      [
        "Since 2026-11-21T12:00:00.000Z: 2 new, 0 fixed, 0 still there, 1 unknown",
        "New:",
        "  public.y has no index for its foreign key",
        "  public.x has no index for its foreign key",
        "Unknown, because its check could not be assessed now:",
        "  public.z has no index for its foreign key",
      ].join("\n"),
    );
  });

  it("reads back what --json wrote", () => {
    const report = reportOf([found("a", "t"), resultOf("b", { reason: "hidden" })]);
    expect(parseEarlier(JSON.stringify(report), "old.json", "shop")).toEqual(remembered(report));
  });

  it.each([
    ["not json", "it is no JSON"],
    ["[]", "it is not the JSON of a review"],
    ['{"results": {}}', "it is not the JSON of a review"],
    ['{"version": 99, "results": []}', "its document has version 99"],
    ['{"version": 1, "results": []}', "it does not say of what and when it is"],
    [JSON.stringify({ ...reportOf([]), results: [7] }), "one of its results is not that of a check"],
    [
      JSON.stringify(reportOf([resultOf("a", { findings: [{} as never] })])),
      "one of its findings has no key",
    ],
    [
      JSON.stringify({ ...reportOf([]), database: "crm" }),
      'old.json is a review of database "crm", not of "shop"',
    ],
  ])("refuses %s", (text, message) => {
    expect(() => parseEarlier(text, "old.json", "shop")).toThrow(message);
  });
});
