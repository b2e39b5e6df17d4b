import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { pageNotification } from "../../lib/jobs/page-notification.ts";
import { fileNotifications } from "../../lib/sandbox/notifications.ts";
import { lookWith, pageOf, rootFinding } from "../alarms/page/pages.ts";

describe("notifications of the sandbox", () => {
  let directory = "";
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "notifications-"));
  });
  afterAll(() => rm(directory, { recursive: true }));

  it("are a line of a file each, with the page where there is one, for this user alone", async () => {
    const file = join(directory, "notifications.jsonl");
    const notifications = fileNotifications(file);
    const page = pageOf("blocked-sessions", {
      look: lookWith({ ...rootFinding, text: "two\nlines" }),
      value: 12,
    });
    await notifications.send({ severity: "ticket", subject: "plain", body: "a\nb" });
    await notifications.send(pageNotification(page));
    const lines = (await readFile(file, "utf8")).trimEnd().split("\n");
    expect(lines.map((line) => JSON.parse(line))).toEqual([
      { at: expect.any(String), severity: "ticket", subject: "plain", body: "a\nb" },
      {
        at: expect.any(String),
        severity: "page",
        subject: "PAGE shop: Many sessions wait for a lock",
        body: expect.stringContaining("run: npx pgkeep health"),
        page: JSON.parse(JSON.stringify(page)),
      },
    ]);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
  });
});
