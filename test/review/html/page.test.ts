import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { html } from "../../../lib/html/markup.ts";
import { ticksOf } from "../../../lib/review/html/charts.ts";
import { reviewPage } from "../../../lib/review/html/page.ts";
import { noOverview } from "../../../lib/review/overview.ts";
import { findingOf, reportOf, resultOf } from "../../helpers/review-report.ts";
import { hostileReport, sampleReport } from "./sample.ts";

/** What a reader sees, without markup. */
const textOf = (page: string) =>
  page
    .slice(page.indexOf("<body>"), page.indexOf("<script>"))
    .replace(/<[^>]*>/g, " ")
    .replace(/\s+/g, " ");

describe("the page of a review", () => {
  it("says every field of a finding", () => {
    const finding = findingOf({
      since: "2026-11-01T00:00:00.000Z",
      origin: "orders.rb:1",
      example: { before: "old way", after: "new way" },
      fix: { up: ["UP;"], down: ["DOWN;"], proof: ["it is faster"] },
    });
    const text = textOf(reviewPage(reportOf([resultOf(finding.check, { findings: [finding] })])));
    const { title, key, impact, blastRadius, rootCause, prevention, remediation } = finding;
    for (const part of [
      title,
      key,
      impact,
      blastRadius,
      rootCause,
      prevention,
      ...Object.values(remediation),
      "schema public , table orders",
      "2026-11-01 00:00 UTC",
      "orders.rb:1",
      "old way",
      "new way",
      "UP;",
      "DOWN;",
      "it is faster",
      "1,000,000",
      "effort: minutes",
      "certain",
    ]) {
      expect(text).toContain(part);
    }
  });

  it("says what is new, fixed, suppressed, well done and unseen, and about which server and time", () => {
    const text = textOf(reviewPage(sampleReport()));
    for (const part of [
      "7 findings: 1 critical, 1 high, 4 medium, 1 low. 2 of 9 checks passed, 1 could not be assessed.",
      "Not asked: the replica reporting : no route to host",
      "1 new, 1 fixed, 6 still there, 1 seen for the first time",
      "Two indexes of public.orders are the same Fixed",
      "public.orders has no index for its foreign key and 2 more of the same",
      "it is archived in December , until 2027-01-31",
      "table-bloat/public.gone : long ago",
      "Pages have checksums.",
      "the role alice lacks the rights of pg_read_all_stats: GRANT pg_monitor TO alice; unused-indexes",
      "Statistics count since 2026-11-01 00:00 UTC , 20 d 0 h before",
      "role alice",
    ]) {
      expect(text).toContain(part);
    }
  });

  it("says that nothing was found, and why there is no picture", () => {
    const page = reviewPage(
      reportOf([resultOf("a")], { incomplete: "it was lost", overview: noOverview("nobody looked") }),
    );
    const text = textOf(page);
    expect(text).toContain("Nothing was found. 1 of 1 check passed.");
    expect(text).toContain("Not complete: it was lost");
    expect(text.match(/No data: nobody looked/g)).toHaveLength(5);
    expect(page).not.toContain("<svg");
    expect(textOf(reviewPage(reportOf([])))).not.toContain("Size, load");
  });

  it("refers to nothing outside itself, and forbids to", () => {
    const page = reviewPage(sampleReport());
    expect(page).toContain(
      `http-equiv="Content-Security-Policy" content="default-src &#39;none&#39;; script-src &#39;sha256-`,
    );
    expect(page.match(/\s(?:src|srcset|action|style|on\w+|data)=/g)).toBeNull();
    expect(page).not.toMatch(/\bhref="[^#]|https?:|@import|url\(/);
  });

  it("gives the same page for the same report", () => {
    expect(reviewPage(sampleReport())).toBe(reviewPage(sampleReport()));
  });

  it("gives each element of its own an identifier of its own, and every link a target", () => {
    const page = reviewPage(sampleReport());
    const ids = [...page.matchAll(/\bid="([^"]*)"/g)].map((match) => match[1]);
    expect(ids).toEqual([...new Set(ids)]);
    for (const [, target] of page.matchAll(/href="#([^"]*)"/g)) expect(ids).toContain(target);
    for (const [, targets = ""] of page.matchAll(/aria-labelledby="([^"]*)"/g)) {
      for (const target of targets.split(" ")) expect(ids).toContain(target);
    }
  });

  it("has no element for what a name pretends to be", () => {
    const page = reviewPage(hostileReport());
    const tags = (text: string) => new Set([...text.matchAll(/<([a-z0-9]+)/gi)].map((match) => match[1]));
    expect([...tags(page)].sort()).toEqual([...tags(reviewPage(sampleReport()))].sort());
    expect(page.match(/<script/g)).toHaveLength(1);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: those must not be there.
    expect(page).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/);
  });
});

it("escapes every text, in elements and in attributes", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), fc.string(), (one, other) => {
      const { text } = html`<p title="${one}">${[other, one]}</p>`;
      expect(text).toMatch(/^<p title="[^"'<>]*">[^"'<>]*<\/p>$/);
    }),
  );
  expect(html`${"a\tb\u202e\nc & <d>"}${undefined}${1}`.text).toBe("a    b\\u202e\nc &amp; &lt;d&gt;1");
});

describe("the axis of a line", () => {
  it.each([
    [0, 1.3, 10, [0, 0.5, 1, 1.5]],
    [98.5, 99.2, 10, [98.4, 98.6, 98.8, 99, 99.2]],
    [5, 5, 10, [4, 6]],
    [0, 0, 10, [0, 0.5]],
    [2 ** 30, 4 * 2 ** 30, 1024, [0, 1, 2, 3, 4].map((count) => count * 2 ** 30)],
  ] as const)("from %d to %d has round numbers", (low, high, base, expected) => {
    const ticks = ticksOf(low, high, base);
    expect(ticks[0]).toBeLessThanOrEqual(low);
    expect(ticks.at(-1)).toBeGreaterThanOrEqual(high);
    expect(ticks).toEqual(expected);
  });

  it("covers whatever there is, and never more than can be", () => {
    expect(ticksOf(99.9, 100, 10, 100).at(-1)).toBe(100);
    fc.assert(
      fc.property(
        fc.double({ min: 0, max: 1e15, noNaN: true }),
        fc.double({ min: 0, max: 1e15, noNaN: true }),
        fc.constantFrom(10 as const, 1024 as const),
        (one, other, base) => {
          const [low, high] = [Math.min(one, other), Math.max(one, other)];
          const ticks = ticksOf(low, high, base);
          expect(ticks.length).toBeGreaterThanOrEqual(2);
          expect(ticks.length).toBeLessThanOrEqual(8);
          const margin = Math.max(1e-6, high / 1e9);
          expect(ticks[0]).toBeLessThanOrEqual(low + margin);
          expect(ticks.at(-1)).toBeGreaterThanOrEqual(high - margin);
        },
      ),
    );
  });
});
