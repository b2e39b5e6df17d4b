import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { code, type Html, html } from "../../html/markup.ts";
import { wholePage } from "../../html/page.ts";
import { packageRoot } from "../../package-root.ts";
import { style } from "./style.ts";

/** The runbook of this version: what to do for each alarm, under its name. */
export async function runbookPage(): Promise<string> {
  const text = await readFile(join(packageRoot, "docs", "runbook.md"), "utf8");
  return wholePage({
    title: "Runbook",
    style,
    script: "",
    body: html`<header><nav aria-label="Back"><ul><li><a href="/">Status</a></li></ul></nav></header>
<main>${runbookHtml(text)}</main>`,
  });
}

/**
 * The part of Markdown that the runbook is written in: headings, paragraphs, lists, blocks of commands, code, bold and
 * links, of which only those inside the page can be followed. Whatever else there is stays as it is written.
 */
export function runbookHtml(markdown: string): Html {
  const found: Html[] = [];
  let items: Html[] = [];
  let lines: string[] = [];
  let fence: string[] | undefined;
  const endParagraph = () => {
    const [first] = lines;
    if (first === undefined) return;
    const text = lines.map((line) => line.trim()).join(" ");
    if (first.startsWith("- ")) items.push(html`<li>${inline(text.slice(2))}</li>\n`);
    else found.push(html`<p>${inline(text)}</p>\n`);
    lines = [];
  };
  const endList = () => {
    endParagraph();
    if (items.length > 0) found.push(html`<ul>${items}</ul>\n`);
    items = [];
  };
  for (const line of markdown.split("\n")) {
    if (line.trimStart().startsWith("```")) {
      if (fence === undefined) {
        endList();
        fence = [];
      } else {
        found.push(code("Commands", fence.join("\n")));
        fence = undefined;
      }
      continue;
    }
    if (fence !== undefined) {
      fence.push(line);
      continue;
    }
    const heading = /^(#{1,3}) (.+)$/.exec(line);
    if (heading !== null) {
      endList();
      const title = heading[2] ?? "";
      const level = (heading[1] ?? "#").length;
      found.push(
        level === 1
          ? html`<h1>${inline(title)}</h1>\n`
          : level === 2
            ? html`<h2>${inline(title)}</h2>\n`
            : html`<h3 class="entry" id="${anchorOf(title)}">${inline(title)}</h3>\n`,
      );
    } else if (line.trim() === "") endParagraph();
    else if (line.startsWith("- ")) {
      endParagraph();
      lines = [line];
    } else {
      // A paragraph that is not indented ends the list before it.
      if (lines.length === 0 && !line.startsWith(" ")) endList();
      lines.push(line);
    }
  }
  endList();
  return html`${found}`;
}

const anchorOf = (title: string) =>
  title
    .toLowerCase()
    .replace(/[^\w\- ]/g, "")
    .replaceAll(" ", "-");

const inlinePattern = /`([^`]+)`|\*\*([^*]+)\*\*|\[([^\]]+)\]\(([^)\s]+)\)/g;

function inline(text: string): Html {
  const parts: (Html | string)[] = [];
  let from = 0;
  for (const match of text.matchAll(inlinePattern)) {
    parts.push(text.slice(from, match.index));
    const [whole, code, bold, label, target] = match;
    if (code !== undefined) parts.push(html`<code>${code}</code>`);
    else if (bold !== undefined) parts.push(html`<strong>${bold}</strong>`);
    else if (target?.startsWith("#")) parts.push(html`<a href="${target}">${label}</a>`);
    else parts.push(html`${label} (<code>docs/${target}</code>)`);
    from = match.index + whole.length;
  }
  return html`${[...parts, text.slice(from)]}`;
}
