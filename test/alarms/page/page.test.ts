import { describe, expect, it } from "vitest";
import { lookWith, pageOf, rootFinding, shopAlarms } from "./pages.ts";

describe("a page", () => {
  it("names database, roles, cause from the look, and the command", () => {
    expect(pageOf("blocked-sessions", { look: lookWith(rootFinding), value: 12 })).toEqual({
      key: "pgkeep/shop/blocked-sessions",
      state: "alarm",
      severity: "page",
      database: "shop",
      alarm: "blocked-sessions",
      entry: "blocked-sessions",
      title: "shop: Many sessions wait for a lock",
      since: "2026-11-21T18:03:00.000Z",
      measured: {
        value: 12,
        threshold: 10,
        unit: "Count",
        comparison: ">=",
        text: "12, alarm at 10 or more",
      },
      blastRadius: "database shop: everyone who needs the same locks (shop_app); now 7 sessions of shop_app",
      cause: { text: rootFinding.text, from: "look" },
      evidence: rootFinding.evidence,
      also: [],
      unseen: [],
      runbook: "https://example.com/pgkeep/runbook.md#blocked-sessions",
      command: "npx pgkeep health",
    });
  });

  it("falls back on what the catalogue takes for likely, and says so", () => {
    const page = pageOf("free-storage");
    expect(page.cause.from).toBe("catalogue");
    expect(page.measured).toMatchObject({
      value: null,
      text: expect.stringMatching(/^no value, alarm at 5 GiB or less$/),
    });
    expect(page.evidence).toEqual({});
  });

  it("fills in every place-holder of every alarm", () => {
    for (const { name } of shopAlarms) {
      const page = pageOf(name);
      expect(`${page.blastRadius} ${page.command}`, name).not.toMatch(/[{}]|undefined| \(\)|of {2}/);
    }
    expect(pageOf("replica-lag-replica-1").blastRadius).toContain("readers of replica-1 (shop_reporting)");
    expect(pageOf("job-failed-vacuum").command).toBe("npx pgkeep run vacuum --dry-run");
    expect(pageOf("failed-logins").command).toContain("/aws/rds/instance/pgkeep-shop/postgresql");
  });

  it("has no cause once it is over", () => {
    const page = pageOf("blocked-sessions", { state: "ok", look: lookWith(rootFinding), value: 0 });
    expect(page).toMatchObject({ state: "ok", evidence: {}, cause: { from: "catalogue" } });
  });

  it("keeps to one line what a terminal or a mail would act on, and to a length what is long", () => {
    const nasty = `a\u0000b\r\nBcc: c\u001b[2J\u2028\u202ed\u200be ${"x".repeat(2000)}\ud800`;
    const page = pageOf("blocked-sessions", {
      look: lookWith({ ...rootFinding, text: nasty, evidence: { application: nasty } }),
    });
    for (const text of [page.cause.text, String(page.evidence.application)]) {
      expect(text).toMatch(/^a b Bcc: c \[2J d e x+…$/);
      expect(text.length).toBeLessThanOrEqual(600);
    }
  });

  it("says values in words of their unit", () => {
    expect(pageOf("write-latency", { value: 0.0342 }).measured.text).toBe(
      "34.2 ms, alarm at more than 20 ms",
    );
    expect(pageOf("replication-stopped-replica-1", { value: -1 }).measured.text).toMatch(/^-1 s, alarm at/);
    expect(pageOf("transaction-ids-critical", { value: 1_000_000_001 }).measured.text).toMatch(
      /^1,000,000,001, /,
    );
  });
});
