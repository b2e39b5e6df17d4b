import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { pageDocuments } from "../../../lib/alarms/page/documents.ts";
import type { Evidence } from "../../../lib/alarms/page/look.ts";
import { opsgenieRequest } from "../../../lib/alarms/page/opsgenie.ts";
import type { Page } from "../../../lib/alarms/page/page.ts";
import { pagerDutyEvent } from "../../../lib/alarms/page/pagerduty.ts";
import { slackMessage } from "../../../lib/alarms/page/slack.ts";
import { pageSms, pageSubject, pageText } from "../../../lib/alarms/page/text.ts";
import { lookWith, pageOf, rootFinding, shopAlarms } from "./pages.ts";

const schema = (name: string) =>
  z.fromJSONSchema(JSON.parse(readFileSync(new URL(`schemas/${name}.json`, import.meta.url), "utf8")));
const event = schema("pagerduty-event");
const create = schema("opsgenie-create");
const close = schema("opsgenie-close");
const message = schema("slack-message");

const key = "e93facc04764012d7bfb002500d5d1a6";
const asSent = (page: Page) => ({ ...pagerDutyEvent(page), routing_key: key });
const problems = (validator: z.ZodType, document: unknown) =>
  validator.safeParse(JSON.parse(JSON.stringify(document))).error?.issues ?? [];

function problemsOf(page: Page): unknown[] {
  const request = opsgenieRequest(page);
  return [
    ...problems(event, asSent(page)),
    ...problems(page.state === "ok" ? close : create, request.body),
    ...problems(message, slackMessage(page)),
  ];
}

const hostile = `<!here> <!channel> @channel @everyone <https://evil.example|ok> *b* _i_ \`x\` & "q"\n\u202e\u0007\u001b[31m`;
const hostileFinding = {
  ...rootFinding,
  text: `"${hostile}" holds up 7 sessions`,
  hurts: hostile,
  evidence: { rootPid: 1, application: hostile, table: `o"${hostile}` },
};

describe("the schemas of the services", () => {
  const good = pageOf("blocked-sessions", { look: lookWith(rootFinding), value: 12 });

  it("take what pgkeep sends", () => {
    expect(problemsOf(good)).toEqual([]);
    expect(problemsOf(pageOf("blocked-sessions", { state: "ok", value: 0 }))).toEqual([]);
  });

  it("refuse what the services refuse", () => {
    const sent = asSent(good);
    const { routing_key: _, ...withoutKey } = sent;
    for (const bad of [
      withoutKey,
      { ...sent, event_action: "open" },
      { ...sent, dedup_key: "x".repeat(256) },
      { ...sent, payload: { ...sent.payload, summary: "x".repeat(1025) } },
      { ...sent, payload: { ...sent.payload, severity: "page" } },
      { ...sent, payload: { ...sent.payload, extra: 1 } },
      { ...sent, links: [{ text: "no address" }] },
    ]) {
      expect(problems(event, bad)).not.toEqual([]);
    }
    const { body } = opsgenieRequest(good);
    for (const bad of [
      { ...body, message: "x".repeat(131) },
      { ...body, alias: "x".repeat(513) },
      { ...body, description: "x".repeat(15_001) },
      { ...body, priority: "P0" },
      { ...body, details: { number: 1 } },
    ]) {
      expect(problems(create, bad)).not.toEqual([]);
    }
    const slack = slackMessage(good);
    const header = (text: string) => ({ type: "header", text: { type: "plain_text", text } });
    for (const bad of [
      { blocks: slack.blocks },
      { ...slack, blocks: Array.from({ length: 51 }, () => slack.blocks[0]) },
      { ...slack, blocks: [header("x".repeat(151))] },
      { ...slack, blocks: [{ type: "section", text: { type: "mrkdwn", text: "x".repeat(3001) } }] },
      { ...slack, blocks: [{ type: "section", fields: Array.from({ length: 11 }, () => header("x").text) }] },
    ]) {
      expect(problems(message, bad)).not.toEqual([]);
    }
  });

  it("take the page of every alarm of the catalogue, opened and closed", () => {
    for (const { name } of shopAlarms) {
      for (const state of ["alarm", "ok"] as const) {
        expect(problemsOf(pageOf(name, { state, look: lookWith(hostileFinding) })), name).toEqual([]);
      }
    }
  });

  it("take whatever names and values a database has, and nobody is mentioned", () => {
    const text = fc.oneof(
      fc.string({ unit: "binary", maxLength: 3000 }),
      fc.constantFrom(hostile, "x".repeat(5000), "&".repeat(3000), "🐘".repeat(900), "<!here>".repeat(500)),
    );
    const evidence = fc.dictionary(fc.string({ minLength: 1, maxLength: 20 }), fc.oneof(text, fc.integer()), {
      maxKeys: 30,
    });
    fc.assert(
      fc.property(fc.array(text, { maxLength: 6 }), evidence, text, (texts, fields, hurts) => {
        const page = pageOf("blocked-sessions", {
          look: {
            lookedAt: "2026-11-21T18:03:05.000Z",
            findings: texts.map((one) => ({
              from: "blocked-sessions" as const,
              text: one,
              hurts,
              evidence: fields as Evidence,
            })),
            unseen: texts,
          },
        });
        expect(problemsOf(page)).toEqual([]);
        const slack = JSON.stringify(slackMessage(page));
        expect(slack).not.toMatch(/<!|<@|<#|@(?:here|channel|everyone)/);
        // The only angle brackets are the runbook's link.
        expect(slack.match(/</g)).toHaveLength(1);
        expect(Buffer.byteLength(JSON.stringify(asSent(page)))).toBeLessThan(512 * 1024);
        expect(JSON.stringify(opsgenieRequest(page))).not.toMatch(/[<>]/);
        const shown = [pageSubject(page), pageSms(page), ...pageText(page).split("\n")];
        for (const line of shown) {
          // biome-ignore lint/suspicious/noControlCharactersInRegex: none of these may be there.
          expect(line).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069\u200b-\u200f]/);
        }
        expect(pageSubject(page)).toMatch(/^[\x20-\x7e]{1,99}$/);
        expect(pageSms(page)).toMatch(/^[\x20-\x7e]{1,140}$/);
      }),
      { numRuns: 30 },
    );
  });
});

describe("a page opened and closed", () => {
  const opened = pageDocuments(pageOf("blocked-sessions", { look: lookWith(rootFinding), value: 12 }));
  const closed = pageDocuments(pageOf("blocked-sessions", { state: "ok", value: 0 }));

  it("has the same key everywhere", () => {
    expect(opened.page.key).toBe("pgkeep/shop/blocked-sessions");
    expect(closed.pagerDuty).toEqual({ event_action: "resolve", dedup_key: "pgkeep/shop/blocked-sessions" });
    expect(opened.pagerDuty).toMatchObject({
      event_action: "trigger",
      dedup_key: "pgkeep/shop/blocked-sessions",
      payload: { severity: "critical", source: "shop", class: "blocked-sessions" },
      links: [{ href: "https://example.com/pgkeep/runbook.md#blocked-sessions", text: "Runbook" }],
    });
    expect(opened.opsgenie).toMatchObject({
      path: "/v2/alerts",
      body: { alias: "pgkeep/shop/blocked-sessions", priority: "P1" },
    });
    expect(closed.opsgenie.path).toBe(
      "/v2/alerts/pgkeep%2Fshop%2Fblocked-sessions/close?identifierType=alias",
    );
  });

  it("keeps keys apart that are too long for a service", () => {
    const long = (end: string) =>
      pagerDutyEvent({ ...opened.page, key: `${"k".repeat(300)}${end}` }).dedup_key;
    expect(long("a")).toHaveLength(255);
    expect(long("a")).not.toBe(long("b"));
    expect(long("a")).toBe(long("a"));
  });

  it("gives a ticket less than a page", () => {
    const ticket = pageDocuments(pageOf("inactive-slots"));
    expect(ticket.pagerDuty.payload?.severity).toBe("warning");
    expect(ticket.opsgenie.body).toMatchObject({ priority: "P3" });
    expect(ticket.slack.blocks[0]).toMatchObject({
      type: "header",
      text: { text: expect.stringMatching(/^TICKET /) },
    });
  });

  it("links to no runbook that is only a path", () => {
    const page = pageOf("cpu-high", { runbook: "docs/runbook.md" });
    expect(pagerDutyEvent(page).links).toBeUndefined();
    expect(JSON.stringify(slackMessage(page))).toContain("Runbook: docs/runbook.md#cpu-high");
  });
});

describe("the mail of a page", () => {
  it("says first what happened and last what to do", () => {
    const page = pageOf("blocked-sessions", { look: lookWith(rootFinding), value: 12 });
    expect(pageSubject(page)).toBe("PAGE shop: Many sessions wait for a lock");
    expect(pageText(page)).toBe(
      [
        "PAGE shop: Many sessions wait for a lock",
        "12, alarm at 10 or more",
        "since 2026-11-21 18:03 UTC",
        "",
        "hurts: database shop: everyone who needs the same locks (shop_app); now 7 sessions of shop_app",
        'cause: "shop_app" ("checkout", pid 4711, idle in transaction) holds up 7 sessions, for 4 min',
        "  rootPid: 4711",
        "  user: shop_app",
        "  ageSeconds: 252",
        "  statement: update shop.orders set status = ? where id = ?",
        "",
        "run: npx pgkeep health",
        "runbook: https://example.com/pgkeep/runbook.md#blocked-sessions",
      ].join("\n"),
    );
    expect(pageSms(page)).toBe(
      'PAGE shop: Many sessions wait for a lock: "shop_app" ("checkout", pid 4711, idle in transaction) holds up 7 sessions, for 4 min',
    );
  });

  it("says what is likely when nobody looked, and what could not be seen", () => {
    const text = pageText(
      pageOf("cpu-high", { look: { ...lookWith(), unseen: ["statements: not installed"] }, value: 97.25 }),
    );
    expect(text).toContain("97.3 %, alarm at 90 % or more");
    expect(text).toContain("likely: A plan that changed");
    expect(text).toContain("not seen: statements: not installed");
  });

  it("is short when it is over", () => {
    expect(pageText(pageOf("replica-lag-replica-1", { state: "ok", value: 1 })).split("\n")).toEqual([
      "OK shop: A replica is too far behind (replica-1) (over)",
      expect.stringMatching(/^1 s, alarm at more than /),
      "since 2026-11-21 18:03 UTC",
      "runbook: https://example.com/pgkeep/runbook.md#replica-lag",
    ]);
  });
});
