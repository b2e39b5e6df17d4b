import type { Page } from "./page.ts";
import { ascii, cutTo } from "./plain.ts";

/** A subject of SNS has under 100 ASCII characters (SNS API reference, `Publish`). */
const subjectCharacters = 99;
/** One part of an SMS (SNS API reference, `Publish`). */
const smsCharacters = 140;
/** Longest line: a phone breaks it, and nobody scrolls. */
const lineCharacters = 400;

/** `PAGE`, `TICKET`, or `OK` when it is over. */
export function stateWord({ state, severity }: Page): string {
  if (state === "ok") return "OK";
  return severity === "page" ? "PAGE" : "TICKET";
}

/** The subject of a mail: what happened, where. */
export function pageSubject(page: Page): string {
  return ascii(subjectCharacters, `${stateWord(page)} ${page.title}`);
}

/** A mail for a phone: what happened first, what to do last, one thing on a line. */
export function pageText(page: Page): string {
  const { measured, since, cause, evidence, also, unseen } = page;
  const over = page.state === "ok";
  const lines = [
    `${stateWord(page)} ${page.title}${over ? " (over)" : ""}`,
    measured.text,
    `since ${momentText(since)}`,
    ...(over
      ? []
      : [
          "",
          `hurts: ${page.blastRadius}`,
          `${cause.from === "look" ? "cause" : "likely"}: ${cause.text}`,
          ...Object.entries(evidence).map(([name, value]) => `  ${name}: ${value}`),
          ...also.map((sentence) => `also: ${sentence}`),
          ...unseen.map((sentence) => `not seen: ${sentence}`),
          "",
          `run: ${page.command}`,
        ]),
    `runbook: ${page.runbook}`,
  ];
  return lines.map((line) => cutTo(lineCharacters, line)).join("\n");
}

/** One line of an SMS: what happened, and the cause as far as there is room. */
export function pageSms(page: Page): string {
  const head = `${stateWord(page)} ${page.title}`;
  const cause = page.state === "alarm" && page.cause.from === "look" ? `: ${page.cause.text}` : "";
  return ascii(smsCharacters, `${head}${cause}`);
}

/** `2026-11-21 18:03 UTC`. */
function momentText(iso: string): string {
  return `${iso.slice(0, 10)} ${iso.slice(11, 16)} UTC`;
}
