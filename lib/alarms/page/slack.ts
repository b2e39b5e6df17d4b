import { runbookUrl } from "./fields.ts";
import type { Page } from "./page.ts";
import { stateWord } from "./text.ts";

/** Limits of Slack's blocks (docs.slack.dev, Block Kit reference: header, section, text object). */
const headerCharacters = 150;
const textCharacters = 3_000;
const fieldCharacters = 2_000;
const fieldsInBlock = 10;
const shownFields = 2 * fieldsInBlock;

interface PlainText {
  type: "plain_text";
  text: string;
  emoji: false;
}

interface Markdown {
  type: "mrkdwn";
  text: string;
  verbatim: true;
}

export type SlackBlock =
  | { type: "header"; text: PlainText }
  | { type: "section"; text: PlainText | Markdown }
  | { type: "section"; fields: PlainText[] }
  | { type: "context"; elements: Markdown[] };

export interface SlackMessage {
  /** For notifications and screen readers. */
  text: string;
  blocks: SlackBlock[];
}

/**
 * The page for an incoming webhook or `chat.postMessage`. What comes from the database stands in plain text, with
 * Slack's three control characters escaped, so that no name formats, links or mentions anybody.
 */
export function slackMessage(page: Page): SlackMessage {
  const head = `${stateWord(page)} ${page.title}`;
  const over = page.state === "ok";
  const facts = over
    ? [`Over since ${page.since}`, page.measured.text]
    : [
        page.measured.text,
        `Since ${page.since}`,
        `Hurts: ${page.blastRadius}`,
        `${page.cause.from === "look" ? "Cause" : "Likely"}: ${page.cause.text}`,
        ...page.also.map((sentence) => `Also: ${sentence}`),
        ...page.unseen.map((sentence) => `Not seen: ${sentence}`),
      ];
  return {
    text: plainText(textCharacters, head).text,
    blocks: [
      { type: "header", text: plainText(headerCharacters, head) },
      { type: "section", text: plainText(textCharacters, facts.join("\n")) },
      ...(over ? [] : [...evidenceBlocks(page), commandBlock(page)]),
      { type: "context", elements: [markdown(runbookText(page))] },
    ],
  };
}

function evidenceBlocks({ evidence }: Page): SlackBlock[] {
  const fields = Object.entries(evidence)
    .slice(0, shownFields)
    .map(([name, value]) => plainText(fieldCharacters, `${name}: ${value}`));
  const blocks: SlackBlock[] = [];
  for (let at = 0; at < fields.length; at += fieldsInBlock) {
    blocks.push({ type: "section", fields: fields.slice(at, at + fieldsInBlock) });
  }
  return blocks;
}

function commandBlock({ command }: Page): SlackBlock {
  return { type: "section", text: markdown(`Run: \`${escaped(command).replaceAll("`", "'")}\``) };
}

function runbookText(page: Page): string {
  const url = runbookUrl(page);
  return url === undefined ? `Runbook: ${escaped(page.runbook)}` : `<${escaped(url)}|Runbook>`;
}

/** The limit holds for what is sent, and no character or entity is cut in two. */
function plainText(limit: number, text: string): PlainText {
  let shown = escaped(text);
  if (shown.length > limit) {
    shown = "";
    for (const character of text) {
      const next = escaped(character);
      if (shown.length + next.length >= limit) break;
      shown += next;
    }
    shown += "…";
  }
  return { type: "plain_text", text: shown, emoji: false };
}

function markdown(text: string): Markdown {
  return { type: "mrkdwn", text, verbatim: true };
}

/** Slack's control characters as entities, and behind an @ a character without width: it names nobody. */
function escaped(text: string): string {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll("@", "@\u2060");
}
