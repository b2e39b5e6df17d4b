import { describe, expect, it } from "vitest";
import { exitCodeOf } from "../../lib/cli/review.ts";
import { parseSuppressions, type Suppression } from "../../lib/config/suppressions.ts";
import { suppress } from "../../lib/review/suppressions.ts";
import { describeReview } from "../../lib/review/text.ts";
import { findingOf, reportOf, resultOf } from "../helpers/review-report.ts";

const read = (...entries: unknown[]) => parseSuppressions({ suppressions: entries }, "accepted.yaml");
const two = () =>
  reportOf([
    resultOf("a", {
      findings: [
        findingOf({ check: "a", table: "one", severity: "high" }),
        findingOf({ check: "a", table: "two" }),
      ],
    }),
    resultOf("b"),
    resultOf("c", { reason: "no right" }),
  ]);
const suppressed = (report: ReturnType<typeof two>) =>
  report.results.flatMap(({ findings }) => findings.filter((one) => one.suppressed).map(({ key }) => key));
const apply = (...suppressions: Suppression[]) => {
  const report = two();
  suppress(report, suppressions);
  return report;
};

describe("a file of suppressions", () => {
  it("has for each a key, a reason, and a last day", () => {
    const entry = { key: "a/public.*", reason: " known ", expires: "2028-02-29" };
    expect(read(entry)).toEqual([{ ...entry, reason: "known" }]);
    expect(read({ key: "a/x", reason: "known" })).toEqual([{ key: "a/x", reason: "known" }]);
    expect(read()).toEqual([]);
  });

  it("tells all that is wrong with it at once", () => {
    const bad = () =>
      read(
        { key: "a/x", reason: "fine" },
        { key: "a/x", reason: "again" },
        { key: "*", reason: "everything" },
        { key: "a/y" },
        { key: "a/z", reason: "r", expires: "2027-02-29", until: 1 },
        "a/w",
      );
    expect(bad).toThrow(
      [
        "accepted.yaml is no file of suppressions:",
        '  number 2: the key "a/x" stands twice',
        "  number 3: key is not that of a finding: CHECK/OBJECT, where OBJECT may have *",
        "  number 4: reason is missing: why is it accepted?",
        '  number 5: "until" is no part of a suppression',
        "  number 5: expires is not a day such as 2027-01-31",
        "  number 6: key is not that of a finding: CHECK/OBJECT, where OBJECT may have *",
        "  number 6: reason is missing: why is it accepted?",
      ].join("\n"),
    );
    for (const value of [null, [], { suppressions: {} }, { suppressions: [], more: 1 }]) {
      expect(() => parseSuppressions(value, "x")).toThrow("it has not just `suppressions:` with a list");
    }
  });
});

describe("a suppressed finding", () => {
  it("does not count for the gate, and is named with its reason", () => {
    const report = apply({ key: "a/public.one", reason: "known", expires: "2026-11-21" });
    expect(suppressed(report)).toEqual(["a/public.one"]);
    expect([exitCodeOf(report, "high"), exitCodeOf(report, "medium")]).toEqual([0, 1]);
    expect(report.results[0]?.findings[0]?.suppressed).toEqual({ reason: "known", expires: "2026-11-21" });
    const text = describeReview(report).join("\n");
    expect(text).toContain("1 finding (1 medium)");
    expect(text).toContain("Suppressed:\n  a/public.one: known (until 2026-11-21): 1 finding");
  });

  it.each([
    ["a/public.*", ["a/public.one", "a/public.two"]],
    ["a/*o*", ["a/public.one", "a/public.two"]],
    ["a/*.o*e", ["a/public.one"]],
    ["a/public.on*ne", []],
    ["a/public", []],
    ["a/public.(one|two)", []],
    ["b/*", []],
  ])("is meant by %s: %j", (key, keys) => {
    expect(suppressed(apply({ key, reason: "r" }))).toEqual(keys);
  });

  it("counts again from the day after the last one, and that is said", () => {
    const report = apply({ key: "a/public.one", reason: "known", expires: "2026-11-20" });
    expect(suppressed(report)).toEqual([]);
    expect(exitCodeOf(report, "high")).toBe(1);
    expect(describeReview(report).join("\n")).toContain(
      "Suppressions that are over, so that what they match counts again:\n  a/public.one: known (until 2026-11-20): 1 finding",
    );
  });

  it("is told apart from a suppression that matches nothing, and from one that nobody could look at", () => {
    const reason = "r";
    const expires = "2027-01-01";
    const report = apply(
      { key: "a/public.gone", reason, expires },
      { key: "b/*", reason },
      { key: "c/*", reason, expires },
      { key: "no-such-check/x", reason, expires },
    );
    expect(report.suppressions?.stale.map(({ key }) => key)).toEqual([
      "a/public.gone",
      "b/*",
      "no-such-check/x",
    ]);
    expect(report.suppressions?.endless.map(({ key }) => key)).toEqual(["b/*"]);
    expect(report.suppressions?.used).toEqual([]);
  });

  it("may have any name", () => {
    const hostile = `a/we"ird.*\n'; -- (x`;
    const report = reportOf([resultOf("a", { findings: [findingOf({ check: "a", key: hostile })] })]);
    suppress(report, [{ key: hostile, reason: "exact, although it has a star" }]);
    expect(suppressed(report)).toEqual([hostile]);
  });

  it("is found quickly by a pattern of many stars", () => {
    const key = `a/${"x".repeat(5_000)}`;
    const report = reportOf([resultOf("a", { findings: [findingOf({ check: "a", key })] })]);
    suppress(report, [{ key: `a/${"*x".repeat(1_000)}*y`, reason: "r" }]);
    expect(suppressed(report)).toEqual([]);
  });
});
