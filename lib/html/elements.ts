import type { Severity } from "../checks/check.ts";
import { type Html, html, type Part } from "./markup.ts";

/** The severity is a word; its colour only repeats it. */
export function badge(severity: Severity): Html {
  return html`<span class="badge ${severity}">${severity}</span>`;
}

/** One line of a `dl`. */
export function pair(term: Part, value: Part): Html {
  return html`<div><dt>${term}</dt><dd>${value}</dd></div>`;
}

/** A column by its name; `words` wrap and begin at the left, where numbers stay on a line at the right. */
export type Column = string | { words: string };

/** The first column heads its row; the second, without a name, is the picture. */
export function table(
  caption: string,
  columns: readonly Column[],
  rows: readonly (readonly Part[])[],
  /** Of each row what it is about, for a page that changes: the row stays the same element. */
  keys?: readonly string[],
): Html {
  return html`<div class="scroll" tabindex="0" role="group" aria-label="${caption}"><table>
<caption class="unseen">${caption}</caption>
<thead><tr>${columns.map((column) =>
    column === ""
      ? html`<td></td>`
      : typeof column === "string"
        ? html`<th scope="col">${column}</th>`
        : html`<th scope="col" class="words">${column.words}</th>`,
  )}</tr></thead>
<tbody>${rows.map(
    (cells, row) =>
      html`<tr${keys === undefined ? "" : html` data-key="${keys[row]}"`}>${cells.map((cell, index) =>
        index === 0
          ? html`<th scope="row">${cell}</th>`
          : typeof columns[index] === "object"
            ? html`<td class="words">${cell}</td>`
            : html`<td>${cell}</td>`,
      )}</tr>\n`,
  )}</tbody></table></div>`;
}

/** Parts of a whole bar of length 1, left to right. */
export function bar(parts: readonly (readonly [color: "a" | "b" | "c", share: number])[]): Html {
  let from = 0;
  return html`<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true" focusable="false">${parts.map(
    ([color, share]) => {
      const x = from;
      from += 100 * share;
      return share <= 0
        ? ""
        : html`<rect class="${color}" x="${fixed(x)}" y="0" width="${fixed(Math.max(0.4, 100 * share))}" height="10"/>`;
    },
  )}</svg>`;
}

/** Coordinates need no more than two decimals. */
export const fixed = (value: number) => String(Math.round(value * 100) / 100);
