import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { catalogue } from "../../lib/alarms/catalogue.ts";
import { packageRoot } from "../../lib/package-root.ts";
import { pageChanges, statusPage } from "../../lib/status/page/page.ts";
import { runbookHtml, runbookPage } from "../../lib/status/page/runbook.ts";
import type { Parts, Status } from "../../lib/status/status.ts";
import { summarize } from "../../lib/status/summary.ts";
import { statusOf } from "./sample.ts";

const textOf = (markup: string) => markup.replace(/<[^>]*>/g, " ").replace(/\s+/g, " ");
/** The sample with other parts. */
function withParts(parts: Partial<Parts>): Status {
  const status = statusOf();
  const all = { ...status.parts, ...parts };
  return { ...status, ...summarize(all), parts: all };
}
const absent = { state: "absent", reason: "there is none" } as const;
const nothing: Parts = {
  health: absent,
  alarms: absent,
  routing: absent,
  backups: absent,
  drill: absent,
  jobs: absent,
  queries: absent,
  sizes: absent,
  sandbox: absent,
};

describe("the status page", () => {
  it("says of every part what there is", () => {
    const text = textOf(statusPage(statusOf()));
    for (const part of [
      "Trouble 1 finding: 1 high. 2 alarms on, 1 of them silenced: database-down, replica-lag-replica-1. The last restore drill failed. Last run failed: vacuum.",
      "Collected 2026-11-21 12:00:00 UTC",
      "1 of 3 checks passed, 1 could not be assessed",
      "reindex index concurrently orders;",
      "page: The primary does not answer",
      "ALARM for 5 min",
      "explained by another alarm: database-down",
      "replica-1 orders 127.0.0.1:5433 (pooler)",
      "9 h 0 min old, begun 2026-11-21 03:00 UTC",
      "every moment from 2026-11-14 03:00 UTC to 2026-11-21 12:00 UTC",
      "Time to restore (RTO) 42 s",
      "0 of 1 held, 3 tables proved",
      "failed 0 s ago orders 3 s never in 30 min",
      "select * from orders where id = $1",
      "+488.3 KiB since 2026-11-01",
    ]) {
      expect(text).toContain(part);
    }
  });

  it("says why a part is not known, what it was, and what to do", () => {
    const last = statusOf().parts.jobs;
    if (last.state !== "known") return expect.unreachable();
    const text = textOf(
      statusPage(
        withParts({
          jobs: {
            state: "unknown",
            at: "2026-11-21T12:00:00.000Z",
            reason: "cannot reach it",
            remedy: "start the server",
            last: { at: "2026-11-21T11:59:00.000Z", data: last.data },
          },
          sizes: { ...absent, remedy: "make one" },
        }),
      ),
    );
    expect(text).toContain("Not known: cannot reach it. What to do: start the server");
    expect(text).toContain("As it was 60 s ago :");
    expect(text).toContain("Not here: there is none. What to do: make one");
  });

  it("has the same in its changes as in the whole page", () => {
    const status = statusOf({ hostile: true });
    const page = statusPage(status);
    for (const content of Object.values(pageChanges(status).content)) expect(page).toContain(content);
  });

  it("is fine only where nothing is wrong and everything was asked", () => {
    expect(withParts(nothing)).toMatchObject({
      level: "fine",
      summary: "Nothing is wrong that pgkeep can see.",
    });
    const unknown = { state: "unknown", at: "2026-11-21T12:00:00.000Z", reason: "x" } as const;
    for (const name of Object.keys(nothing) as (keyof Parts)[]) {
      expect(withParts({ ...nothing, [name]: unknown })).toMatchObject({
        level: name === "health" ? "trouble" : "attention",
      });
    }
  });
});

describe("the served runbook", () => {
  it("has every alarm of the catalogue under its name, and nothing left of the Markdown", async () => {
    const page = await runbookPage();
    for (const { name } of catalogue) expect(page, name).toContain(`id="${name}"`);
    expect(page).not.toContain("```");
    expect(page).not.toMatch(/\*\*|^#+ /m);
    const source = readFileSync(join(packageRoot, "docs", "runbook.md"), "utf8");
    expect(page.match(/<pre/g)).toHaveLength((source.match(/^ *```/gm)?.length ?? 0) / 2);
    expect(page.match(/<h3/g)).toHaveLength(source.match(/^### /gm)?.length ?? 0);
    expect(page).not.toMatch(/href="(?!#|\/)/);
  });

  it("takes what it does not know as text", () => {
    expect(
      runbookHtml(
        "# A\n\n- **one** `a <b>`\n  goes on\n- two\n\nend [x](#x) [y](https://example.com/)\n\n```sh\n<b>\n```\n<script>1</script>\n",
      ).text,
    ).toBe(
      "<h1>A</h1>\n<ul><li><strong>one</strong> <code>a &lt;b&gt;</code> goes on</li>\n<li>two</li>\n</ul>\n" +
        '<p>end <a href="#x">x</a> y (<code>docs/https://example.com/</code>)</p>\n' +
        '<pre role="group" aria-label="Commands" dir="ltr"><code>&lt;b&gt;</code></pre><p>&lt;script&gt;1&lt;/script&gt;</p>\n',
    );
  });
});
