import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { plain } from "../lib/alarms/page/plain.ts";
import { printable } from "../lib/checks/describe-health.ts";
import { actingCharacters, escapeActing } from "../lib/words.ts";

/** What does something where it is shown: in a terminal, to the direction of writing, or without being seen. */
const acting = [
  ..."\u0000\u0007\b\t\n\r\u001b\u007f\u0085\u009b\u00ad\u061c\u200b\u200d\u200e\u2028\u2029\u202e\u2060\u2069\ufeff\ufffb",
  "\ud800",
  "\udc00",
  "\u{e0041}",
];

describe("characters that act", () => {
  it("are shown or gone, wherever text of others is shown", () => {
    for (const character of acting) {
      const text = `a${character}b`;
      for (const shown of [plain(text), printable(text), escapeActing(text)]) {
        expect(shown.replace(actingCharacters, ""), escapeActing(character)).toBe(shown);
      }
    }
    expect(plain(acting.join(" "))).toBe("");
    expect(printable("a\nb\t\u202e\u{e0041}")).toBe("a\\nb\\u0009\\u202e\\udb40\\udc41");
    expect(escapeActing("a\n\tb\r\u0007", "\t\n")).toBe("a\n\tb\\u000d\\u0007");
  });

  it("are not what people write: letters of any script, signs and pictures stay", () => {
    const text = 'naïve Ελλάδα 日本語 العربية "«»" – … 🙂𝔸 %$\\u0041';
    for (const shown of [plain(text), printable(text), escapeActing(text)]) expect(shown).toBe(text);
  });

  it("are escaped as JSON has them: a document stays what it was", () => {
    const someText = fc.string({ unit: fc.oneof(fc.constantFrom(...acting), fc.string({ unit: "binary" })) });
    fc.assert(
      fc.property(someText, (text) => {
        const shown = escapeActing(JSON.stringify({ [text]: [text] }, null, 2), "\t\n");
        expect(JSON.parse(shown)).toEqual({ [text]: [text] });
        expect(shown.replace(/[\t\n]/g, "").match(actingCharacters)).toBeNull();
      }),
    );
  });
});
