import { printable } from "../checks/describe-health.ts";

/** Markup that was written here, or text that has been escaped. Only this module makes it. */
export class Html {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

export type Part = string | number | Html | undefined | readonly Part[];

/**
 * The only way from names and statements to markup: whatever is put in is text, in elements as in quoted attributes,
 * unless it was made by this function itself.
 */
export function html(strings: TemplateStringsArray, ...parts: Part[]): Html {
  let text = strings[0] ?? "";
  for (const [index, part] of parts.entries()) text += textOf(part) + (strings[index + 1] ?? "");
  return new Html(text);
}

function textOf(part: Part): string {
  if (part === undefined) return "";
  if (part instanceof Html) return part.text;
  if (typeof part === "string") return escaped(part);
  if (typeof part === "number") return String(part);
  return part.map(textOf).join("");
}

const entities: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

/** Line breaks stay; controls and what turns the direction of text are shown, not obeyed. */
function escaped(text: string): string {
  return text
    .replaceAll("\t", "    ")
    .split(/\r?\n/)
    .map(printable)
    .join("\n")
    .replace(/[&<>"']/g, (character) => entities[character] ?? "");
}

/** A name that keeps its own direction of writing to itself. */
export const name = (text: string): Html => html`<bdi>${text}</bdi>`;

/** More than this has to be scrolled, which must be possible with the keyboard. */
const scrolledCharacters = 1_500;
const scrolledLines = 15;

/** Statements and the like, as written. */
export function code(label: string, text: string): Html {
  const scrolled = text.length > scrolledCharacters || text.split("\n").length > scrolledLines;
  return html`<pre role="group" aria-label="${label}" dir="ltr"${scrolled ? html` tabindex="0"` : ""}><code>${text}</code></pre>`;
}

/** `2026-11-21 12:00 UTC`, or to the second. */
export function moment(iso: string, to: "minute" | "second" = "minute"): Html {
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return html`${iso}`;
  const text = date.toISOString();
  return html`<time datetime="${text}">${text.slice(0, 10)} ${text.slice(11, to === "minute" ? 16 : 19)} UTC</time>`;
}

const digits = new Intl.NumberFormat("en-US", { maximumFractionDigits: 3 });

/** 1234567.8912 → `1,234,567.891`; four digits stay together, they may be a year or a port. */
export function numberText(value: number): string {
  return Math.abs(value) < 10_000 ? String(Math.round(value * 1000) / 1000) : digits.format(value);
}
