import { pageFields } from "./fields.ts";
import type { Page } from "./page.ts";
import { shortKey } from "./pagerduty.ts";
import { cutTo } from "./plain.ts";
import { pageText } from "./text.ts";

/** Limits of Opsgenie's Alert API (docs.opsgenie.com, Alerts and Alert Fields; Alert API, Create Alert). */
const messageCharacters = 130;
const aliasCharacters = 512;
const descriptionCharacters = 15_000;
const detailsCharacters = 8_000;
const entityCharacters = 512;
const tagCharacters = 50;

export interface OpsgenieAlert {
  message: string;
  alias: string;
  description: string;
  details: Record<string, string>;
  priority: "P1" | "P3";
  entity: string;
  source: "pgkeep";
  tags: string[];
}

/** A request of Opsgenie's Alert API: an alert that is made, or one that is closed by the same alias. */
export type OpsgenieRequest =
  | { method: "POST"; path: "/v2/alerts"; body: OpsgenieAlert }
  | { method: "POST"; path: string; body: { source: "pgkeep"; note: string } };

export function opsgenieRequest(page: Page): OpsgenieRequest {
  const alias = shortKey(aliasCharacters, page.key);
  if (page.state === "ok") {
    return {
      method: "POST",
      path: `/v2/alerts/${encodeURIComponent(alias)}/close?identifierType=alias`,
      body: { source: "pgkeep", note: withoutHtml(pageText(page)) },
    };
  }
  return {
    method: "POST",
    path: "/v2/alerts",
    body: {
      message: cutTo(messageCharacters, withoutHtml(page.title)),
      alias,
      description: cutTo(descriptionCharacters, withoutHtml(pageText(page))),
      details: details(page),
      priority: page.severity === "page" ? "P1" : "P3",
      entity: cutTo(entityCharacters, page.database),
      source: "pgkeep",
      tags: [page.database, page.entry].map((tag) => cutTo(tagCharacters, tag)),
    },
  };
}

/** Texts alone, and of all of them no more than Opsgenie keeps. */
function details(page: Page): Record<string, string> {
  let left = detailsCharacters;
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(pageFields(page))) {
    const text = withoutHtml(String(value));
    left -= name.length + text.length;
    if (left < 0) break;
    kept[name] = text;
  }
  return kept;
}

/** Opsgenie shows HTML as such: what looks like a tag is shown with other brackets. */
function withoutHtml(text: string): string {
  return text.replaceAll("<", "‹").replaceAll(">", "›");
}
