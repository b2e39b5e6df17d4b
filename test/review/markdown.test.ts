import { describe, expect, it } from "vitest";
import { renderMarkdown } from "../../lib/review/markdown.ts";
import { block, inline } from "../../lib/review/markup.ts";
import type { ReviewReport } from "../../lib/review/run.ts";
import { suppress } from "../../lib/review/suppressions.ts";
import { findingOf, reportOf, resultOf } from "../helpers/review-report.ts";

/** What makes the structure of a document: headings, fences, and where lists and tables begin. */
function structure(markdown: string): string[] {
  let fence: string | undefined;
  return markdown.split("\n").flatMap((line) => {
    const ticks = /^`{3,}/.exec(line)?.[0];
    if (fence !== undefined) {
      if (line === fence) fence = undefined;
      return [];
    }
    if (ticks !== undefined) fence = ticks;
    const start = /^(#+ (?:\d+\.)?|- \[ \]|- (?=\S)|\| |`{3})/.exec(line)?.[0] ?? (line === "" ? "" : "text");
    // Pipes and fences that count are those without a backslash.
    return [`${start} ${(line.match(/(?<!\\)\|/g) ?? []).length}`];
  });
}

function full(name: string): ReviewReport {
  const finding = findingOf({
    check: "a",
    key: `a/${name}`,
    severity: "critical",
    confidence: "likely",
    object: { schema: "public", table: name },
    title: name,
    evidence: { statement: name, rows: 12 },
    impact: name,
    blastRadius: name,
    rootCause: name,
    prevention: name,
    since: "2026-11-01T00:00:00.000Z",
    origin: name,
    remediation: { sql: name, lock: name, rollback: name },
    example: { before: name, after: name },
    fix: { up: [name], down: [name], proof: [name] },
  });
  const report = reportOf(
    [
      resultOf("a", { findings: [finding, findingOf({ check: "a", table: "other" })] }),
      resultOf("b", { reason: name }),
      resultOf("c", { good: [name], title: name }),
    ],
    {
      database: name,
      user: name,
      incomplete: name,
      replicasUnseen: [{ name, reason: name }],
      replicas: [name],
    },
  );
  const known = { check: "a", key: `a/${name}`, severity: "low" as const, title: name };
  report.comparison = {
    since: "2026-11-14T00:00:00.000Z",
    new: [known],
    newlySeen: [known],
    fixed: [known],
    still: [],
    unknown: [{ ...known, reason: name }],
  };
  suppress(report, [
    { key: "a/public.other", reason: name },
    { key: `gone/${name}`, reason: name, expires: "2027-01-01" },
  ]);
  return report;
}

describe("the Markdown of a review", () => {
  const text = renderMarkdown(full("orders"));

  it("has the sections that somebody needs who was not there", () => {
    expect(text.match(/^#+ .*$/gm)).toEqual([
      "# Database review: orders",
      "## Summary",
      "## Since 2026-11-14T00:00:00.000Z",
      "## Done well",
      "## Deployment blockers",
      "### 1. orders",
      "## Improvements",
      "## Tasks",
      "## Suppressions",
      "## What could not be assessed",
      "## What was asked",
    ]);
  });

  it("says of a finding all that is known", () => {
    for (const part of [
      "- **Severity**: critical; confidence: likely; effort: minutes",
      "- **Location**: schema public, table orders",
      "- **Since**: 2026-11-01T00:00:00.000Z",
      "- **In the application**: orders",
      "- **Impact**: orders",
      "- **Root cause**: orders",
      "- **Blast radius**: orders",
      "- **Evidence**: statement orders; rows 12",
      "- **Prevention**: orders",
      "- **Key**: a/orders",
      "Remediation (lock: orders):\n\n```sql\norders\n```",
      "Rollback:\n\n```sql\norders\n```",
      "Before:\n\n```sql\norders\n```\n\nAfter:\n\n```sql\norders\n```",
      "Proof:\n\n- orders",
      "- [ ] 1. critical, minutes: orders (likely: look before you act)",
      "- **Not complete**: orders",
      "- medium: public.other has no index for its foreign key: orders\n\nWithout an end",
      "- orders: b\n",
    ]) {
      expect(text).toContain(part);
    }
  });

  it.each([
    "x\n\n# Pwned\n\n- [ ] task",
    "```\n# x\n````sql\n<script>alert(1)</script>",
    "[click](javascript:alert(1)) ![i](http://x/y) <img src=x onerror=y>",
    "a | b || c",
    "- item",
    "1. one",
    "2) two",
    "=== \u001b[31m\u202e\u2028 x \r\n y",
    "\\` \\| \\",
    "*b* _c_ ~~d~~ $e$ &amp; @team www.example.com",
    "    four\tspaces",
    '"; drop table x; --',
  ])("keeps its structure whatever a name contains: %j", (name) => {
    const markdown = renderMarkdown(full(name));
    expect(structure(markdown)).toEqual(structure(text));
    const outside = markdown.replace(/^(`{3,}).*\n[\s\S]*?\n\1$/gm, "");
    expect(outside).not.toMatch(/(?<!\\)<|(?<!\\)\]\(|:\/\/|www\./);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what must not be there.
    expect(markdown).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u2028\u202e]/);
  });

  it("is short for a database without findings", () => {
    const clean = renderMarkdown(reportOf([resultOf("a")]));
    expect(clean).toContain("- Nothing was found; 1 of 1 check passed, 0 could not be assessed.");
    expect(clean).toContain("## Deployment blockers\n\nCritical is the loss of data");
    expect(clean).toContain("Nothing is to be done.");
    expect(clean).toContain("All that was asked was seen.");
  });
});

it("leaves names readable that need no escape", () => {
  expect(inline("public.order_items (customer_id): 12 %, 3-4 + 5")).toBe(
    "public.order_items (customer_id): 12 %, 3-4 + 5",
  );
});

it("fences code with more backticks than it has", () => {
  expect(block("a ```` b", "sql")).toEqual(["`````sql", "a ```` b", "`````"]);
});
