import { printable } from "../checks/describe-health.ts";

/** What Markdown (CommonMark and GitHub's) takes for markup anywhere in a line, HTML included. */
const special = /[\\`*[\]<>#|~&$@]|(?<![\p{L}\p{N}])_|_(?![\p{L}\p{N}])/gu;

/** Any text as one line of text: nothing in it is markup, a link or a control character. */
export function inline(text: string): string {
  return (
    printable(text.replace(/\s*\n\s*/g, " ").trim())
      .replace(special, "\\$&")
      // Bare addresses become links.
      .replaceAll("://", ":\\/\\/")
      .replace(/\bwww(?=\.)/gi, "$&\\")
      // At the beginning these make a list or a heading.
      .replace(/^[-+=]/, "\\$&")
      .replace(/^\d+(?=[.)])/, "$&\\")
  );
}

/** A block of code; its fence is longer than any in the text. */
export function block(text: string, language: string): string[] {
  const ticks = [...text.matchAll(/`+/g)].map(([run]) => run.length);
  const fence = "`".repeat(ticks.reduce((longest, run) => Math.max(longest, run), 2) + 1);
  return [fence + language, ...text.replaceAll("\t", "    ").split("\n").map(printable), fence];
}

export function tableLines(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map((row) => line(row.map(inline)))];
}
