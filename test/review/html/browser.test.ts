import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { BrowserContextOptions, Page } from "playwright-core";
import { afterAll, describe, expect, it } from "vitest";
import { reviewPage } from "../../../lib/review/html/page.ts";
import type { ReviewReport } from "../../../lib/review/run.ts";
import {
  accessibilityTree,
  contrasts,
  expectNamesAndLevels,
  focused,
  noBrowser,
  type Opened,
  useBrowser,
} from "../../helpers/browser.ts";
import { hostileReport, hostileTexts, largeReport, sampleReport } from "./sample.ts";

describe.skipIf(noBrowser !== "")(`the page of a review in a browser${noBrowser}`, () => {
  const scratch = mkdtempSync(join(tmpdir(), "pgkeep-page-"));
  const browser = useBrowser();
  afterAll(() => rmSync(scratch, { recursive: true }));

  /** The report's page, opened as a file. */
  function opened<T>(
    report: ReviewReport,
    look: (opened: Opened) => Promise<T>,
    options: BrowserContextOptions = {},
  ): Promise<T> {
    const file = join(scratch, "review.html");
    writeFileSync(file, reviewPage(report));
    return browser.opened(pathToFileURL(file).href, look, options);
  }

  const shownFindings = (page: Page) =>
    page.evaluate<number>(`document.querySelectorAll(".finding:not([hidden])").length`);
  const status = (page: Page) => page.locator("#shown").textContent();

  it("is reached by the keyboard in the order of reading, and its filters work by it", () =>
    opened(sampleReport(), async ({ page }) => {
      await page.keyboard.press("Tab");
      expect(await focused(page)).toBe("A: Skip to the findings");
      await page.keyboard.press("Enter");
      const order: string[] = [];
      for (let stop = 0; stop < 11; stop += 1) {
        await page.keyboard.press("Tab");
        order.push(await focused(page));
      }
      expect(order).toEqual([
        "severity=critical",
        "severity=high",
        "severity=medium",
        "severity=low",
        "area=",
        "change=",
        "text=",
        "open",
        "close",
        "BUTTON: Reset filters",
        expect.stringMatching(/^SUMMARY: high/),
      ]);
      // A finding opens.
      await page.keyboard.press("Enter");
      expect(await page.getByText("PostgreSQL makes no index").first().isVisible()).toBe(true);

      expect(await status(page)).toBe(
        "Showing 7 of 7 findings, and 2 of 2 that are only in the earlier review.",
      );
      await page.locator("[value=medium]").focus();
      await page.keyboard.press("Space");
      expect(await status(page)).toContain("Showing 3 of 7 findings");
      expect(await page.locator("#area-indexes").isVisible()).toBe(false);

      await page.getByLabel("Change").focus();
      await page.keyboard.press("ArrowDown");
      expect(await status(page)).toContain("Showing 1 of 7 findings, and 0 of 2");
      await page.keyboard.press("F");
      expect(await status(page)).toContain("Showing 0 of 7 findings, and 1 of 2");

      await page.getByRole("button", { name: "Reset filters" }).focus();
      await page.keyboard.press("Enter");
      await expect.poll(() => status(page)).toContain("Showing 7 of 7 findings, and 2 of 2");

      await page.getByLabel("Area").focus();
      await page.keyboard.press("I");
      expect(await status(page)).toContain("Showing 3 of 7 findings, and 2 of 2");
      await page.getByLabel("Text").focus();
      await page.keyboard.type("prices foreign");
      await page.keyboard.press("Enter");
      expect(await shownFindings(page)).toBe(1);
      await page.keyboard.type(" nowhere");
      await page.keyboard.press("Enter");
      expect(await page.getByText("No finding matches the filters.").isVisible()).toBe(true);

      // What a task leads to is shown although the filters hide it, opened, and has the focus.
      await page.getByRole("link", { name: "public.orders has no index" }).focus();
      await page.keyboard.press("Enter");
      await expect.poll(() => focused(page)).toMatch(/^SUMMARY: medium public.orders has no/);
      expect(await page.getByText("orders_customer_idx ON public.orders").first().isVisible()).toBe(true);

      await page.getByRole("button", { name: "Open all shown" }).press("Enter");
      const open = `document.querySelectorAll(".finding details[open]").length`;
      expect(await page.evaluate(open)).toBe(7);
      await page.getByRole("button", { name: "Close all" }).press("Enter");
      expect(await page.evaluate(open)).toBe(0);
    }));

  it("shows where the focus is", () =>
    opened(sampleReport(), async ({ page }) => {
      let stops = 0;
      for (; stops < 100; stops += 1) {
        await page.keyboard.press("Tab");
        if (await page.evaluate("document.activeElement === document.body")) break;
        const outline = await page.evaluate<string>(
          `(({ outlineStyle, outlineWidth }) => outlineStyle + " " + outlineWidth)(getComputedStyle(document.activeElement))`,
        );
        expect(outline, await focused(page)).toBe("solid 3px");
      }
      expect(stops).toBeGreaterThan(30);
    }));

  it("has names and roles for who cannot see it", () =>
    opened(sampleReport(), async ({ page }) => {
      const { tree, roles } = await accessibilityTree(page);
      for (const node of [
        "RootWebArea: Review of shop, 2026-11-21",
        "banner: ",
        "navigation: Sections of this report",
        "main: ",
        "contentinfo: ",
        "search: Filter the findings",
        "heading 1: Review of shop",
        "heading 2: What to do first",
        "heading 3: Indexes 3",
        "heading 4: The login app is a superuser",
        "region: Findings",
        "article: The login app is a superuser",
        "article: Two indexes of public.orders are the same",
        "group: Severity",
        "checkbox: critical 1",
        "combobox: Area",
        "searchbox: Text",
        "button: Reset filters",
        "note: ",
        "table: Size by table",
        "columnheader: Total",
        "rowheader: public.order_lines",
        "image: Size of the database by day (From 24 GiB on 2026-08-24 to 31 GiB on 2026-11-21; lowest 24 GiB, highest 31 GiB.)",
      ]) {
        expect(tree).toContain(node);
      }
      expect(roles).toContain("status");
      await expectNamesAndLevels(page, tree);
    }));

  it.each(["light", "dark"] as const)("has contrast in the %s scheme", (colorScheme) =>
    opened(
      sampleReport(),
      async ({ page }) => {
        await page.getByRole("button", { name: "Open all shown" }).click();
        // No pointer over anything.
        await page.mouse.move(0, 0);
        const found = await contrasts(page);
        expect(found.length).toBeGreaterThan(300);
        expect(found.filter(({ ratio }) => ratio < 4.5)).toEqual([]);
        for (const badge of [
          "badge critical",
          "badge high",
          "badge medium",
          "badge low",
          "change new",
          "change fixed",
        ]) {
          expect(
            found.some(({ what }) => what.startsWith(badge)),
            badge,
          ).toBe(true);
        }
        const ground = await page.evaluate<string>("getComputedStyle(document.body).backgroundColor");
        expect(Number(/\d+/.exec(ground)?.[0]) > 128).toBe(colorScheme === "light");
      },
      { colorScheme },
    ),
  );

  it("lets nothing break out that a name, a statement or a reason holds", () =>
    opened(hostileReport(), async ({ page }) => {
      await page.getByRole("button", { name: "Open all shown" }).click();
      const seen = await page.evaluate<{
        title: string;
        foreign: string[];
        handlers: string[];
        scripts: number;
      }>(`({
        title: document.title,
        foreign: [...document.querySelectorAll("img, iframe, object, embed, base, link, x, body style, svg [onload]")].map((one) => one.outerHTML),
        handlers: [...document.querySelectorAll("*")].flatMap((one) => one.getAttributeNames().filter((name) => /^on|^src|^style$/.test(name))),
        scripts: document.scripts.length,
      })`);
      expect(seen).toMatchObject({ foreign: [], handlers: [], scripts: 1 });
      expect(seen.title).toMatch(/^Review of /);
      const text = (await page.locator("main").textContent())?.replace(/\s+/g, " ");
      for (const hostile of hostileTexts.slice(0, 6)) expect(text).toContain(hostile);
      expect(text).toContain(`שלום "طاولة" \\u202e\\u2066txt.exe\\u0000\\u001b[31m`);
      // It stays usable, and no name makes it wider than the window.
      await page.getByLabel("Text").fill("</script>");
      await page.keyboard.press("Enter");
      expect(await shownFindings(page)).toBeGreaterThan(0);
      expect(await page.evaluate("document.documentElement.scrollWidth")).toBe(1200);
    }));

  it("would not run or load what got into it all the same", async () => {
    const image = "https://example.com/x.png";
    const violations = await opened(sampleReport(), async ({ page, complaints }) => {
      const failed: (string | undefined)[] = [];
      page.on("requestfailed", (request) => failed.push(request.failure()?.errorText));
      await page.evaluate(`(() => {
        globalThis.violations = [];
        document.addEventListener("securitypolicyviolation", (event) => violations.push(event.effectiveDirective));
        const script = document.createElement("script");
        script.textContent = "document.title = 'broken out'";
        document.body.append(script);
        document.body.insertAdjacentHTML("beforeend",
          '<img src="${image}" onerror="document.title=\\'broken out\\'"><p style="color:red">styled</p>');
      })()`);
      await expect.poll(() => page.evaluate<string[]>("violations")).toContain("img-src");
      await expect.poll(() => page.evaluate<string[]>("violations")).toContain("script-src-attr");
      expect(await page.title()).toBe("Review of shop, 2026-11-21");
      await expect.poll(() => failed).toEqual(["csp"]);
      // The browser says so in its console, as it should.
      expect(complaints.length).toBeGreaterThan(0);
      expect(complaints.filter((text) => !text.includes("Content Security Policy"))).toEqual([image]);
      complaints.length = 0;
      return page.evaluate<string[]>("violations");
    });
    expect(violations).toEqual(expect.arrayContaining(["script-src-elem", "style-src-attr"]));
  });

  it("filters 3,000 findings", () =>
    opened(largeReport(3000), async ({ page }) => {
      expect(await status(page)).toBe("Showing 3000 of 3000 findings.");
      await page.getByLabel("Text").fill("workload_42");
      await expect.poll(() => status(page)).toBe("Showing 11 of 3000 findings.");
      await page.getByLabel("critical").uncheck();
      await expect.poll(() => status(page)).toBe("Showing 8 of 3000 findings.");
      await page.getByRole("button", { name: "Reset filters" }).click();
      await expect.poll(() => status(page)).toBe("Showing 3000 of 3000 findings.");
    }));

  it("prints every finding that is shown in full, and is closed again afterwards", () =>
    opened(sampleReport(), async ({ page }) => {
      await page.locator("[value=medium]").uncheck();
      await page.evaluate(`addEventListener("beforeprint", () => {
        globalThis.printed = document.querySelectorAll(".finding:not([hidden]) details[open]").length;
      })`);
      const paper = await page.pdf();
      expect(paper.subarray(0, 5).toString()).toBe("%PDF-");
      expect(await page.evaluate("printed")).toBe(3);
      expect(await page.evaluate(`document.querySelectorAll(".finding details[open]").length`)).toBe(0);
      await page.emulateMedia({ media: "print", colorScheme: "dark" });
      expect(await page.locator("nav").isVisible()).toBe(false);
      expect(await page.locator("#filters").isVisible()).toBe(false);
      expect(await page.evaluate("getComputedStyle(document.body).color")).toBe("rgb(30, 35, 40)");
    }));

  it("has everything without its script, and fits a telephone", () =>
    opened(
      sampleReport(),
      async ({ page }) => {
        expect(await page.locator("#filters").isVisible()).toBe(false);
        expect(await page.locator(".finding").count()).toBe(9);
        await page.getByRole("heading", { level: 4, name: "The login app is a superuser" }).click();
        expect(await page.getByText("Everybody who writes to public.app.").isVisible()).toBe(true);
      },
      { javaScriptEnabled: false, viewport: { width: 360, height: 700 } },
    ));
});
