import { createHash } from "node:crypto";
import { pageFields, runbookUrl } from "./fields.ts";
import type { Page } from "./page.ts";
import { cutTo } from "./plain.ts";

/** Limits of PagerDuty's Events API v2 (developer.pagerduty.com, Send an Alert Event). */
const summaryCharacters = 1024;
const keyCharacters = 255;

/** An event of PagerDuty's Events API v2 without the key of an integration, which the sender adds as `routing_key`. */
export interface PagerDutyEvent {
  event_action: "trigger" | "resolve";
  dedup_key: string;
  client?: string;
  payload?: {
    summary: string;
    source: string;
    severity: "critical" | "warning";
    timestamp: string;
    component: string;
    group: string;
    class: string;
    custom_details: Record<string, string | number | boolean>;
  };
  links?: { href: string; text: string }[];
}

/** The page as PagerDuty takes it at `/v2/enqueue`: opened, and closed by the same key. */
export function pagerDutyEvent(page: Page): PagerDutyEvent {
  const dedup_key = shortKey(keyCharacters, page.key);
  if (page.state === "ok") return { event_action: "resolve", dedup_key };
  const link = runbookUrl(page);
  return {
    event_action: "trigger",
    dedup_key,
    client: "pgkeep",
    payload: {
      summary: cutTo(summaryCharacters, `${page.title}: ${page.measured.text}. ${page.cause.text}`),
      source: page.database,
      severity: page.severity === "page" ? "critical" : "warning",
      timestamp: page.since,
      component: "postgresql",
      group: page.database,
      class: page.entry,
      custom_details: pageFields(page),
    },
    ...(link === undefined ? {} : { links: [{ href: link, text: "Runbook" }] }),
  };
}

/** The same text for the same key, never two keys for one: a long one ends in its digest. */
export function shortKey(limit: number, key: string): string {
  if (key.length <= limit) return key;
  const digest = createHash("sha256").update(key).digest("hex").slice(0, 16);
  return `${key.slice(0, limit - digest.length - 1)}-${digest}`;
}
