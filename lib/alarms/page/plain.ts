/**
 * What a terminal, a mail program or a telephone would act on instead of showing: control characters, separators of
 * lines, marks that change the direction of writing or have no width, and halves of characters.
 */
const acting =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are the characters to replace.
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]|\udb40[\udc00-\udc7f]/g;

/** One line that is only shown: what would act is a blank, and blanks are one. */
export function plain(text: string): string {
  return text.replace(acting, " ").replace(/\s+/gu, " ").trim();
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
