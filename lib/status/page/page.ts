import { type Html, html, moment, name } from "../../html/markup.ts";
import { wholePage } from "../../html/page.ts";
import type { Level, Status } from "../status.ts";
import { script } from "./script.ts";
import { mark, type Section, sections } from "./sections.ts";
import { style } from "./style.ts";

/** How often the page asks again, by default. */
export const refreshSeconds = 2;
/** How often it is loaded again without its script. */
const reloadSeconds = 10;

const levels: Readonly<Record<Level, readonly [Parameters<typeof mark>[0], string]>> = {
  fine: ["good", "Fine"],
  attention: ["doubtful", "Attention"],
  trouble: ["bad", "Trouble"],
};

/** What of the page changes, as markup by the id of the element whose content it is. */
export interface PageChanges {
  at: string;
  title: string;
  /** Said aloud when it changes. */
  summary: string;
  content: Record<string, string>;
}

/** The same markup as in the page, of which the script takes what differs. */
export function pageChanges(status: Status): PageChanges {
  const all = sections(status);
  return {
    at: status.at,
    title: titleOf(status),
    summary: spoken(status),
    content: Object.fromEntries(
      [
        ["verdict", verdict(status)] as const,
        ["contents", contents(all)] as const,
        ["collected", collected(status)] as const,
        ["sections", sectionList(all)] as const,
      ].map(([id, content]) => [id, content.text]),
    ),
  };
}

/** The page with everything in it: the script only keeps it current, by asking again after so many seconds. */
export function statusPage(status: Status, everySeconds = refreshSeconds): string {
  const all = sections(status);
  return wholePage({
    title: titleOf(status),
    style,
    script,
    served: true,
    head: html`\n<noscript><meta http-equiv="refresh" content="${reloadSeconds}"></noscript>\n<link rel="icon" href="/favicon.ico">`,
    body: html`<a class="skip" href="#health">Skip to the health</a>
<header>
<h1>Status of ${name(status.database)}</h1>
<p>${status.target}</p>
<div id="verdict">${verdict(status)}</div>
<p class="live"><span id="collected">${collected(status)}</span> <button type="button" id="pause" hidden>Pause</button></p>
<div id="gone" role="alert"></div>
<p id="announce" class="unseen" role="status" aria-live="polite"></p>
<nav aria-label="Parts of this page"><ul id="contents">${contents(all)}</ul></nav>
</header>
<main id="sections" data-at="${status.at}" data-summary="${spoken(status)}" data-every="${everySeconds}">${sectionList(all)}</main>
<footer><p>Served by pgkeep. Values in statements are left out. The same as JSON: <a href="/status.json">status.json</a>. What to do for an alarm: <a href="/runbook">runbook</a>.</p></footer>`,
  });
}

function titleOf({ level, database }: Status): string {
  return `${levels[level][1]}: ${database}`;
}

const spoken = ({ level, summary }: Status) => `${levels[level][1]}. ${summary}`;

function verdict({ level, summary }: Status): Html {
  return html`<p class="verdict ${level}">${mark(...levels[level])} ${summary}</p>`;
}

function contents(all: readonly Section[]): Html {
  return html`${all.map(
    ({ id, title, count }) =>
      html`<li data-key="${id}"><a href="#${id}">${title}${count === undefined ? "" : html` <span class="count">${count}</span>`}</a></li>\n`,
  )}`;
}

function collected({ at }: Status): Html {
  return html`Collected ${moment(at, "second")}`;
}

function sectionList(all: readonly Section[]): Html {
  return html`${all.map(
    ({ id, title, content }) =>
      html`<section id="${id}" data-key="${id}" aria-labelledby="${id}-title"><h2 id="${id}-title">${title}</h2>
${content}
</section>\n`,
  )}`;
}
