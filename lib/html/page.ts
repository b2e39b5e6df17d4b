import { createHash } from "node:crypto";
import { Html, html } from "./markup.ts";

export interface PageParts {
  title: string;
  style: string;
  script: string;
  /** The script may ask the server that the page came from, and its icon may be there; otherwise nobody is asked. */
  served?: boolean;
  /** Further elements of the head. */
  head?: Html;
  body: Html;
}

const sha256 = (text: string) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;

/** Forbids whatever is not the page's own style and script, so that what a name or a statement holds stays text. */
export function policyOf({ style, script, served }: Pick<PageParts, "style" | "script" | "served">): string {
  return [
    "default-src 'none'",
    ...(script === "" ? [] : [`script-src ${sha256(script)}`]),
    `style-src ${sha256(style)}`,
    ...(served === true ? ["connect-src 'self'", "img-src 'self'"] : []),
    "base-uri 'none'",
    "form-action 'none'",
  ].join("; ");
}

/** A whole document: style and script are in it. */
export function wholePage(parts: PageParts): string {
  return html`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policyOf(parts)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<meta name="robots" content="noindex">
<meta name="generator" content="pgkeep">${parts.head}
<title>${parts.title}</title>
<style>${new Html(parts.style)}</style>
</head>
<body>
${parts.body}${parts.script === "" ? "" : html`\n<script>${new Html(parts.script)}</script>`}
</body>
</html>`.text;
}
