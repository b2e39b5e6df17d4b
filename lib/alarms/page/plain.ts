import { actingCharacters } from "../../words.ts";

/** One line that is only shown: what would act is a blank, and blanks are one. */
export function plain(text: string): string {
  return text.replace(actingCharacters, " ").replace(/\s+/gu, " ").trim();
}

/** At most so many characters (UTF-16 units, as services count them), never through the middle of one. */
export function cutTo(limit: number, text: string): string {
  if (text.length <= limit) return text;
  const head = text.slice(0, limit - 1).replace(/[\ud800-\udbff]$/, "");
  return `${head.trimEnd()}…`;
}

/** As printable ASCII, with `?` for what is not, at most so many characters. */
export function ascii(limit: number, text: string): string {
  const folded = plain(text)
    .replace(/[\u2018\u2019]/g, "'")
    .replace(/[\u2013\u2014\u2212]/g, "-")
    .replace(/…/g, "...")
    .normalize("NFKD")
    .replace(/\p{M}/gu, "")
    .replace(/[^\x20-\x7e]/gu, "?");
  return folded.length <= limit ? folded : `${folded.slice(0, limit - 3).trimEnd()}...`;
}
