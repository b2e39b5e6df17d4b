import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { pageText } from "../../../lib/alarms/page/text.ts";
import { lookWith, pageOf, rootFinding } from "./pages.ts";

it("docs/pages.md shows a page as it is", () => {
  const text = readFileSync(new URL("../../../docs/pages.md", import.meta.url), "utf8");
  const shown = /```text\n([\s\S]*?)\n```/.exec(text)?.[1];
  expect(shown).toBe(pageText(pageOf("blocked-sessions", { look: lookWith(rootFinding), value: 12 })));
});
