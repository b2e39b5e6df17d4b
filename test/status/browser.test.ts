import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { sourcesOfSandbox } from "../../lib/cli/status.ts";
import { checkHealth } from "../../lib/jobs/check-health.ts";
import type { Job } from "../../lib/jobs/job.ts";
import { routeReplicas } from "../../lib/jobs/route-replicas.ts";
import { runJob } from "../../lib/jobs/runner.ts";
import type { Json } from "../../lib/json.ts";
import type { Session } from "../../lib/ports/databases.ts";
import { identifier, literal } from "../../lib/postgres/identifiers.ts";
import { requestStatus } from "../../lib/sandbox/control.ts";
import { type RunningSandbox, startSandbox } from "../../lib/sandbox/sandbox.ts";
import { type StatusCollector, statusCollector } from "../../lib/status/collect.ts";
import { type StatusServer, serveStatus } from "../../lib/status/serve.ts";
import type { Status } from "../../lib/status/status.ts";
import {
  accessibilityTree,
  contrasts,
  expectNamesAndLevels,
  focused,
  noBrowser,
  type Opened,
  useBrowser,
} from "../helpers/browser.ts";
import { configFor } from "../helpers/config.ts";
import { defaultMajor } from "../helpers/postgres.ts";
import { alarmAnswer, hostileTexts, statusOf } from "./sample.ts";

type Options = Parameters<ReturnType<typeof useBrowser>["opened"]>[2];

/** Tests are in a hurry. */
const refreshSeconds = 0.3;
const text = (page: Page, selector: string) => page.locator(selector).textContent();
const width = (page: Page) => page.evaluate<number>("document.documentElement.scrollWidth");

describe.skipIf(noBrowser !== "")(`the status page in a browser${noBrowser}`, () => {
  const browser = useBrowser();

  /** Serves this collector, and opens its page; the page may ask this server and nobody else. */
  async function served<T>(
    collector: StatusCollector,
    look: (opened: Opened & { server: StatusServer }) => Promise<T>,
    options: Options & { host?: string } = {},
  ): Promise<T> {
    const { host, ...more } = options;
    const server = await serveStatus({
      collector,
      refreshSeconds,
      ...(host === undefined ? {} : { host }),
    });
    const address = `http://127.0.0.1:${server.port}/${new URL(server.url).search}`;
    const { origin } = new URL(address);
    try {
      return await browser.opened(address, (opened) => look({ ...opened, server }), {
        expected: (url) => new URL(url).origin === origin,
        ...more,
      });
    } finally {
      await server.close();
    }
  }
  const fixed = (status: () => Status = statusOf): StatusCollector => ({ current: async () => status() });

  describe("of a sample", () => {
    it("has names and roles for who cannot see it, and goes by the keyboard", () =>
      served(fixed(), async ({ page }) => {
        const { tree, roles } = await accessibilityTree(page);
        for (const node of [
          "RootWebArea: Trouble: shop",
          "banner: ",
          "main: ",
          "contentinfo: ",
          "navigation: Parts of this page",
          "heading 1: Status of shop",
          "heading 2: Health now",
          "heading 3: High 1",
          "heading 4: orders is invalid",
          "region: Alarms",
          "table: Alarms that are on",
          "columnheader: State",
          "link: database-down",
          "table: Servers and their share of reads",
          "table: Jobs and their last runs",
          "table: Statements by the time they took",
          "table: Largest tables",
          "rowheader: public.orders",
          "button: Pause",
          "alert: ",
        ]) {
          expect(tree).toContain(node);
        }
        expect(roles).toContain("status");
        await expectNamesAndLevels(page, tree);
        await page.keyboard.press("Tab");
        expect(await focused(page)).toBe("A: Skip to the health");
        await page.keyboard.press("Tab");
        expect(await focused(page)).toBe("pause");
        const outlines = new Set<string>();
        for (let stop = 0; stop < 40; stop += 1) {
          await page.keyboard.press("Tab");
          if (await page.evaluate("document.activeElement === document.body")) break;
          outlines.add(
            await page.evaluate<string>(
              `(({ outlineStyle, outlineWidth }) => outlineStyle + " " + outlineWidth)(getComputedStyle(document.activeElement))`,
            ),
          );
        }
        expect([...outlines]).toEqual(["solid 3px"]);
      }));

    it("has contrast in the light and the dark scheme, and no state by colour alone", () =>
      served(fixed(), async ({ page }) => {
        await page.locator("#alarms details summary").click();
        await page.mouse.move(0, 0);
        for (const colorScheme of ["light", "dark"] as const) {
          await page.emulateMedia({ colorScheme });
          const found = await contrasts(page);
          expect(found.length).toBeGreaterThan(200);
          expect(found.filter(({ ratio }) => ratio < 4.5)).toEqual([]);
        }
        const marks = await page.locator(".mark").allTextContents();
        expect(marks.length).toBeGreaterThan(20);
        expect(marks.filter((mark) => !/^[✓✕!·] \S+/.test(mark))).toEqual([]);
      }));

    it("fits a telephone without scrolling sideways, whatever names are there", async () => {
      for (const hostile of [false, true]) {
        await served(
          fixed(() => statusOf({ hostile })),
          async ({ page }) => {
            await page.locator("#alarms details summary").click();
            for (const summary of await page.locator("#health .finding summary").all()) await summary.click();
            expect(await width(page)).toBe(320);
            // Only what scrolls by itself is wider.
            const wider = await page.evaluate<string[]>(
              `[...document.querySelectorAll("main *")].filter((one) => one.getBoundingClientRect().right > 320.5 && one.closest(".scroll, pre") === null).map((one) => one.outerHTML.slice(0, 80))`,
            );
            expect(wider).toEqual([]);
          },
          { viewport: { width: 320, height: 640 } },
        );
      }
    });

    it("lets nothing break out that a name, a statement or an error holds, at once as later", () => {
      let hostile = false;
      return served(
        fixed(() => statusOf({ hostile })),
        async ({ page }) => {
          hostile = true;
          await expect.poll(() => text(page, "#jobs"), { timeout: 10_000 }).toContain(`"; drop table x; --`);
          const shown = async () => (await text(page, "main")) ?? "";
          for (const one of hostileTexts) expect(await shown()).toContain(one);
          await page.reload();
          for (const one of hostileTexts) expect(await shown()).toContain(one);
          expect(
            await page.evaluate(`({
              title: document.title,
              foreign: [...document.querySelectorAll("img, iframe, object, embed, base, x, body style, svg [onload], [autofocus]")].length,
              handlers: [...document.querySelectorAll("*")].flatMap((one) => one.getAttributeNames().filter((name) => /^on|^src|^style$/.test(name))),
              scripts: document.scripts.length,
            })`),
          ).toEqual({ title: "Trouble: shop", foreign: 0, handlers: [], scripts: 1 });
        },
      );
    });

    it("leads from an alarm to what to do for it", () =>
      served(fixed(), async ({ page }) => {
        await page.getByRole("link", { name: "database-down" }).first().click();
        await page.waitForURL("**/runbook#database-down");
        expect(await page.locator("#database-down:target").textContent()).toBe("database-down");
        expect(await page.locator("main").textContent()).toContain("npx pgkeep health");
        await page.getByRole("link", { name: "Status" }).click();
        await page.waitForURL("**/");
      }));

    it("has everything without its script, and is loaded again by itself", () =>
      served(
        fixed(),
        async ({ page }) => {
          expect(await page.locator("#pause").isVisible()).toBe(false);
          expect(await page.locator("#health .finding").count()).toBe(1);
          expect(await page.locator("meta[http-equiv=refresh]").getAttribute("content")).toBe("10");
        },
        { javaScriptEnabled: false },
      ));

    it("stands still while it is paused, and goes on", () => {
      let version = 1;
      const status = () => ({ ...statusOf(), summary: `version ${version}` });
      return served(fixed(status), async ({ page }) => {
        await page.getByRole("button", { name: "Pause" }).click();
        version = 2;
        await page.waitForTimeout(1_000);
        expect(await text(page, "#verdict")).toContain("version 1");
        await page.getByRole("button", { name: "Go on" }).click();
        await expect.poll(() => text(page, "#verdict")).toContain("version 2");
        expect(await text(page, "#announce")).toBe("Trouble. version 2");
      });
    });

    it("says that its server is gone, and when it is there again", async () => {
      let server = await serveStatus({ collector: fixed(), refreshSeconds });
      const { port, url } = server;
      try {
        await browser.opened(
          url,
          async ({ page, complaints }) => {
            await server.close();
            await expect
              .poll(() => text(page, "#gone"), { timeout: 15_000 })
              .toBe(
                "The server of this page does not answer: pgkeep has ended, or the network is gone. What follows is of 2026-11-21 12:00:00 UTC.",
              );
            expect(await page.locator("body").getAttribute("class")).toBe("gone");
            server = await serveStatus({ collector: fixed(), refreshSeconds, port });
            await expect.poll(() => text(page, "#gone"), { timeout: 15_000 }).toBe("");
            expect(await text(page, "#announce")).toMatch(/^The page is current again\. /);
            // The browser says itself that nobody answered.
            expect(complaints.filter((one) => !one.includes("net::ERR_CONNECTION_REFUSED"))).toEqual([]);
            complaints.length = 0;
          },
          { expected: (asked) => asked.startsWith(url) },
        );
      } finally {
        await server.close();
      }
    });

    it("lets in who has the token, keeps it out of the address and away from scripts", () =>
      served(
        fixed(),
        async ({ page, server, complaints }) => {
          expect(page.url()).toBe(`http://127.0.0.1:${server.port}/`);
          expect(await text(page, "h1")).toBe("Status of shop");
          expect(await page.evaluate("document.cookie")).toBe("");
          await page.reload();
          expect(await text(page, "h1")).toBe("Status of shop");
          const [cookie] = await page.context().cookies();
          expect(cookie).toMatchObject({ httpOnly: true, sameSite: "Strict", path: "/" });
          await page.context().clearCookies();
          await expect
            .poll(() => text(page, "#gone"), { timeout: 15_000 })
            .toContain("open the address that pgkeep printed again");
          await page.reload();
          expect(await text(page, "h1")).toBe("Not allowed");
          expect(complaints.filter((one) => !one.includes("401"))).toEqual([]);
          complaints.length = 0;
        },
        { host: "0.0.0.0" },
      ));
  });

  describe("of a running sandbox", () => {
    const home = mkdtempSync(join(tmpdir(), "pgkeep-home-"));
    const ending = new AbortController();
    let sandbox: RunningSandbox;
    let alarms: readonly string[] = [];
    const hostileTable = `<script>document.title='broken out'</script>`;

    const hostileApplication = `<img src=x onerror=document.title='broken out'>`;
    /** Idle in a transaction under that name. */
    let idle: Session | undefined;

    const run = async (job: Job) => {
      const { config, ports } = sandbox.environment;
      return runJob(job, { config, ports, signal: ending.signal });
    };
    /** As the sandbox itself would serve it, with the alarms that the test has on. */
    const collector = () => {
      const sources = sourcesOfSandbox(sandbox.environment, sandbox.state);
      return statusCollector(
        {
          ...sources,
          sandbox: async (signal) => ({
            ...((await requestStatus(sandbox.state, { signal })) as Record<string, Json>),
            alarms: (alarmAnswer(alarms) as { alarms: Json }).alarms,
          }),
        },
        {
          signal: ending.signal,
          timing: { health: { everyMilliseconds: 0 }, sizes: { everyMilliseconds: 0 } },
        },
      );
    };

    beforeAll(async () => {
      sandbox = await startSandbox({
        config: configFor("shop", { pooling: { enabled: false }, health: { idleInTransactionSeconds: 1 } }),
        configFile: null,
        homeDirectory: home,
        replicas: 1,
        postgresMajor: defaultMajor,
        signal: ending.signal,
      });
      await run(checkHealth);
      await run(routeReplicas);
      const session = await sandbox.environment.connectAsMaster();
      const table = identifier(hostileTable);
      await session.query(`create table public.${table} as select n from generate_series(1, 200000) n`);
      await session.query(`analyze public.${table}`);
      await session.query(
        "insert into pgkeep.job_run (id, job, started_at, finished_at, outcome, reason) values ('x', 'vacuum', now(), now(), 'failed', $1)",
        [hostileTexts.join(" ")],
      );
      await session.close();
      idle = await sandbox.environment.connectAsMaster();
      await idle.query(`set application_name = ${literal(hostileApplication)}`);
      await idle.query("begin");
    });
    afterAll(async () => {
      await idle?.close();
      ending.abort(new Error("the test is over"));
      await sandbox?.stop();
      rmSync(home, { recursive: true, force: true });
    });

    it("shows a fault and its repair by itself, and keeps the place of who reads", () =>
      served(collector(), async ({ page }) => {
        expect(await text(page, "#routing")).toMatch(/replica-1[\s\S]*serving/);
        expect(await text(page, "#sandbox")).toContain("Nothing is broken on purpose.");
        expect(await text(page, "#sizes")).toContain(hostileTable);
        expect(await text(page, "#jobs")).toContain(hostileTexts[0]);
        await expect.poll(() => text(page, "#health"), { timeout: 20_000 }).toContain(hostileApplication);
        // A reader far below, with the focus on a link and a part opened.
        await page.locator("#alarms details summary").click();
        const link = page.locator("#alarms details a").last();
        await link.focus();
        const place = await page.evaluate<number>("scrollY");
        const name = await focused(page);
        expect(place).toBeGreaterThan(500);
        await page.evaluate("globalThis.stayed = document.querySelector('#alarms details')");

        await sandbox.applyFault("crash-replica", false);
        alarms = ["replication-stopped-replica-1", "replica-lag-replica-1"];
        await run(routeReplicas);
        await expect
          .poll(() => text(page, "#routing"), { timeout: 20_000 })
          .toMatch(/replica-1[\s\S]*unreachable/);
        await expect
          .poll(() => text(page, "#alarms"), { timeout: 20_000 })
          .toMatch(/replica-lag-replica-1[\s\S]*ALARM/);
        expect(await text(page, "#sandbox")).toContain("crash-replica");
        expect(await text(page, "#verdict")).toContain("1 replica not serving: replica-1 unreachable");
        expect(await text(page, "#announce")).toContain("replica-1 unreachable");
        expect(await focused(page)).toBe(name);
        expect(await page.evaluate("stayed.isConnected && stayed.open")).toBe(true);
        expect(await width(page)).toBe(1200);

        await sandbox.applyFault("crash-replica", true);
        alarms = [];
        await run(routeReplicas);
        await expect
          .poll(() => text(page, "#routing"), { timeout: 30_000 })
          .toMatch(/replica-1[\s\S]*(?:serving|warming)/);
        await expect.poll(() => text(page, "#alarms"), { timeout: 20_000 }).toContain("No alarm is on");
        expect(await page.title()).toMatch(/: shop$/);
      }));

    it("says that the database is gone, keeps the rest with its time, and recovers", () =>
      served(collector(), async ({ page }) => {
        await expect.poll(() => text(page, "#health")).toContain("checks passed");
        await sandbox.applyFault("crash-primary", false);
        await expect.poll(() => text(page, "#health"), { timeout: 20_000 }).toContain("Not known:");
        expect(await text(page, "#verdict")).toMatch(/Trouble.*Health could not be asked/);
        await expect
          .poll(() => text(page, "#jobs"), { timeout: 20_000 })
          .toMatch(/Not known:[\s\S]*As it was .* ago:[\s\S]*route-replicas/);
        // What needs no database goes on.
        expect(await text(page, "#backups")).not.toContain("Not known");
        expect(await text(page, "#alarms")).not.toContain("Not known");
        expect(await text(page, "#gone")).toBe("");
        await sandbox.applyFault("crash-primary", true);
        await expect.poll(() => text(page, "#health"), { timeout: 30_000 }).toContain("checks passed");
        await expect.poll(() => text(page, "#jobs"), { timeout: 30_000 }).not.toContain("Not known");
      }));
  });
});
