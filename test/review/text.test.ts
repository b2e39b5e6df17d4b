import { describe, expect, it } from "vitest";
import { describeReview } from "../../lib/review/text.ts";
import { findingOf, reportOf, resultOf } from "../helpers/review-report.ts";

const text = (...args: Parameters<typeof reportOf>) => describeReview(reportOf(...args)).join("\n");

describe("the text of a review", () => {
  it("is short when nothing was found, and says since when statistics count", () => {
    expect(text([resultOf("a", { good: ["Every table has a primary key."] }), resultOf("b")])).toBe(
      [
        "shop: PostgreSQL 17.10, primary: nothing found; 2 of 2 checks passed; 1.5 s",
        "Statistics go back 20 d 0 h.",
        "",
        "Done well:",
        "  Every table has a primary key.",
      ].join("\n"),
    );
  });

  it("names some of what is done well, and counts the rest", () => {
    const good = Array.from({ length: 7 }, (_, index) => `Good ${index + 1}.`);
    expect(
      text([resultOf("a", { good })])
        .split("\n")
        .slice(-2),
    ).toEqual(["  Good 5.", "  and 2 more, in the other formats"]);
  });

  it("orders by severity, then by how sure, and shows what to do", () => {
    const printed = text([
      resultOf("low", { findings: [findingOf({ check: "low", severity: "low" })] }),
      resultOf("guess", {
        findings: [findingOf({ check: "guess", severity: "high", confidence: "suspected" })],
      }),
      resultOf("sure", { findings: [findingOf({ check: "sure", severity: "high" })] }),
      resultOf("worst", { findings: [findingOf({ check: "worst", severity: "critical" })] }),
    ]);
    expect([...printed.matchAll(/^(?:CRITICAL|HIGH|LOW) (\S+):/gm)].map((match) => match[1])).toEqual([
      "worst",
      "sure",
      "guess",
      "low",
    ]);
    expect(printed).toContain("4 findings (1 critical, 2 high, 1 low); 0 of 4 checks passed");
    expect(printed).toContain(
      [
        "HIGH guess: public.orders has no index for its foreign key (suspected)",
        "  Means: Deleting a customer reads the whole table.",
        "  Affects: Everybody who writes to public.orders.",
        "  What to do (minutes):",
        "    CREATE INDEX CONCURRENTLY orders_customer_idx ON public.orders (customer_id);",
        "  Locks: SHARE UPDATE EXCLUSIVE. Rollback: DROP INDEX CONCURRENTLY public.orders_customer_idx;",
      ].join("\n"),
    );
  });

  it("shows the first of many alike whole, some by title, and counts the rest", () => {
    const tables = Array.from({ length: 40 }, (_, index) => findingOf({ table: `t${index}` }));
    const printed = text([resultOf("unindexed-foreign-keys", { findings: tables })]);
    expect(printed.match(/Means:/g)).toHaveLength(1);
    expect(printed).toContain("  The same:\n    public.t1 has no index");
    expect(printed).toContain("    and 34 more, in the other formats");
  });

  it("groups what could not be assessed by the statement that would change it", () => {
    const reason = "the role alice lacks the rights of pg_read_all_stats: GRANT pg_monitor TO alice;";
    const printed = text([
      resultOf("a", { reason }),
      resultOf("b", { reason }),
      resultOf("c", { reason: "partly hidden", findings: [findingOf({ check: "c" })] }),
    ]);
    expect(printed).toContain(`Not assessable:\n  ${reason}\n    a, b\n  partly hidden\n    c (in part)`);
  });

  it("says how many findings are not listed", () => {
    const found = { ...resultOf("a", { findings: [findingOf()] }), facts: { notListed: 507 } };
    expect(text([found])).toContain("Not listed: 507 more of a, with less weight.");
  });

  it("says that it is not complete, and lets no name act on the terminal", () => {
    const hostile = 'x"; drop table y; --\u001b[31m\n\u202e';
    const finding = findingOf({ title: hostile, impact: hostile, blastRadius: hostile });
    const printed = text(
      [resultOf("a", { findings: [finding], good: [hostile] }), resultOf("b", { reason: hostile })],
      {
        database: hostile,
        incomplete: `lost ${hostile}`,
        replicasUnseen: [{ name: hostile, reason: hostile }],
      },
    );
    expect(printed).toContain("Not complete: lost x");
    // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what must not be there.
    expect(printed).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u202e]/);
    expect(printed.match(/drop table/g)).toHaveLength(9);
  });
});
