import { existsSync } from "node:fs";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, expect } from "vitest";

const executable = "/usr/bin/chromium";

/** Why tests with a browser cannot run here, for their title; empty when they can. */
export const noBrowser = existsSync(executable)
  ? ""
  : ` (skipped: there is no ${executable}: apt-get install chromium)`;

const quietly = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

export interface Opened {
  page: Page;
  /** Errors of the page, what its console says, and every request that is not expected. */
  complaints: string[];
}

export interface TestBrowser {
  /**
   * Opens an address in a new profile, and ends with no complaint left.
   * @param expected whether the page may ask for this; by default only for itself
   */
  opened<T>(
    address: string,
    look: (opened: Opened) => Promise<T>,
    options?: BrowserContextOptions & { expected?: (url: string) => boolean },
  ): Promise<T>;
}

/** One browser for a test file; what is evaluated in its pages is text, because tests know no browser's types. */
export function useBrowser(): TestBrowser {
  let browser: Browser | undefined;
  beforeAll(async () => {
    browser = await chromium.launch({ executablePath: executable, headless: true, args: quietly });
  });
  afterAll(() => browser?.close());
  return {
    async opened(
      address,
      look,
      { expected = (url: string) => url.split("#")[0] === address, ...options } = {},
    ) {
      if (browser === undefined) throw new Error("the browser runs in tests only");
      const context = await browser.newContext({ viewport: { width: 1200, height: 900 }, ...options });
      try {
        const page = await context.newPage();
        const complaints: string[] = [];
        page.on("console", (message) => complaints.push(message.text()));
        page.on("pageerror", (error) => complaints.push(String(error)));
        page.on("dialog", (dialog) => {
          complaints.push(dialog.message());
          void dialog.dismiss();
        });
        page.on("request", (request) => {
          if (!expected(request.url())) complaints.push(request.url());
        });
        await page.goto(address);
        const result = await look({ page, complaints });
        expect(complaints).toEqual([]);
        return result;
      } finally {
        await context.close();
      }
    },
  };
}

/** What has the focus: its name and value, its id, or its text. */
export const focused = (page: Page): Promise<string> =>
  page.evaluate<string>(
    `(({ tagName, name, value, id, textContent }) => name ? name + "=" + value : id || tagName + ": " + textContent.trim().slice(0, 30))(document.activeElement)`,
  );

/** Every node of the accessibility tree as `role level: name (description)`, and the roles alone. */
export async function accessibilityTree(page: Page): Promise<{ tree: string[]; roles: unknown[] }> {
  const session = await page.context().newCDPSession(page);
  const { nodes } = await session.send("Accessibility.getFullAXTree");
  const tree = nodes
    .filter(({ ignored }) => !ignored)
    .map(({ role, name, description, properties }) => {
      const level = properties?.find((one) => one.name === "level")?.value.value as number | undefined;
      return `${String(role?.value)}${level === undefined ? "" : ` ${level}`}: ${String(name?.value)}${
        description?.value ? ` (${String(description.value)})` : ""
      }`;
    });
  return { tree, roles: nodes.map(({ role }) => role?.value) };
}

/** Nothing that can be used is without a name, and no heading leaves out a level. */
export async function expectNamesAndLevels(page: Page, tree: readonly string[]): Promise<void> {
  const usable = /^(?:button|checkbox|combobox|link|searchbox|DisclosureTriangle|image|region)(?: \d)?: /;
  expect(tree.filter((node) => usable.test(node) && node.trim().endsWith(":"))).toEqual([]);
  const levels = await page.evaluate<number[]>(
    `[...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].map((one) => Number(one.tagName[1]))`,
  );
  for (const [index, level] of levels.entries()) {
    expect(level - (levels[index - 1] ?? 0)).toBeLessThanOrEqual(1);
  }
}

/** Contrast of every text that stands in the page with what is behind it (WCAG 2.2, 1.4.3); the worst first. */
const contrastScript = `(() => {
  const channels = (color) => color.match(/[\\d.]+/g).map(Number);
  const luminance = (color) => {
    const [r, g, b] = channels(color).map((value) => value / 255)
      .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let one = element; one !== null; one = one.parentElement) {
      const color = getComputedStyle(one).backgroundColor;
      if ((channels(color)[3] ?? 1) === 1) return color;
    }
    return "rgb(255, 255, 255)";
  };
  const found = [];
  for (const element of document.body.querySelectorAll("*")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim() !== "");
    if (!own || element.closest("script, title, desc, option, [hidden]")) continue;
    const style = getComputedStyle(element);
    const ink = element.namespaceURI.endsWith("svg") ? style.fill : style.color;
    const [dark, light] = [luminance(ink), luminance(ground(element))].sort((a, b) => a - b);
    found.push({ ratio: (light + 0.05) / (dark + 0.05), what: element.className?.toString() + " " + element.textContent.slice(0, 40), ink });
  }
  return found.sort((a, b) => a.ratio - b.ratio);
})()`;

/** The contrast of every text with its ground, the worst first. No pointer may be over anything. */
export const contrasts = (page: Page): Promise<{ ratio: number; what: string }[]> =>
  page.evaluate<{ ratio: number; what: string }[]>(contrastScript);
