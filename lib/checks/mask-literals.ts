/** Longest statement that a finding shows. */
const shownCharacters = 400;

const identifierStart = /[A-Za-z_\u0080-\uffff]/;
const identifierPart = /[A-Za-z0-9_$\u0080-\uffff]/;

/**
 * A statement without its data: every string, number and comment is gone, white space is folded, and a
 * long text is cut. When it cannot be told where a string ends (the server cut the text, or a backslash
 * stands before a quote and the session's `standard_conforming_strings` is unknown), all the rest is left out.
 */
export function maskLiterals(statement: string): string {
  let masked = "";
  let at = 0;
  while (at < statement.length) {
    const character = statement[at] as string;
    const next = statement[at + 1];
    if (character === "-" && next === "-") {
      const end = statement.indexOf("\n", at);
      at = end === -1 ? statement.length : end;
    } else if (character === "/" && next === "*") {
      at = endOfComment(statement, at);
      masked += " ";
    } else if (character === "'") {
      const end = endOfString(statement, at, false);
      masked += "?";
      if (end === undefined) return cut(`${masked} …`);
      at = end;
    } else if (character === '"') {
      const end = endOfQuoted(statement, at);
      if (end === undefined) return cut(`${masked} …`);
      masked += statement.slice(at, end);
      at = end;
    } else if (character === "$") {
      const tag = /^\$(?:[A-Za-z_\u0080-\uffff][A-Za-z0-9_\u0080-\uffff]*)?\$/.exec(
        statement.slice(at, at + 130),
      )?.[0];
      const parameter = /^\$\d+/.exec(statement.slice(at, at + 12))?.[0];
      if (tag !== undefined) {
        const end = statement.indexOf(tag, at + tag.length);
        masked += "?";
        if (end === -1) return cut(`${masked} …`);
        at = end + tag.length;
      } else {
        masked += parameter ?? character;
        at += (parameter ?? character).length;
      }
    } else if (identifierStart.test(character)) {
      const end = endOfWord(statement, at);
      const word = statement.slice(at, end);
      if (statement[end] === "'" && /^(?:e|b|x|n)$/i.test(word)) {
        const close = endOfString(statement, end, /^e$/i.test(word));
        masked += "?";
        if (close === undefined) return cut(`${masked} …`);
        at = close;
      } else {
        masked += word;
        at = end;
      }
    } else if (/[0-9]/.test(character) || (character === "." && /[0-9]/.test(next ?? ""))) {
      const number =
        /^[0-9.][0-9A-Za-z_.]*(?:(?<=[eE])[+-][0-9]+)?/.exec(statement.slice(at, at + 100))?.[0] ?? character;
      masked += "?";
      at += number.length;
    } else {
      masked += character;
      at += 1;
    }
  }
  return cut(masked);
}

function cut(text: string): string {
  const folded = text.replace(/\s+/g, " ").trim();
  const characters = [...folded];
  return characters.length <= shownCharacters ? folded : `${characters.slice(0, shownCharacters).join("")}…`;
}

function endOfWord(statement: string, start: number): number {
  let at = start;
  while (at < statement.length && identifierPart.test(statement[at] as string)) at += 1;
  return at;
}

/** Comments nest in PostgreSQL. */
function endOfComment(statement: string, start: number): number {
  let depth = 0;
  for (let at = start; at < statement.length; at += 1) {
    if (statement.startsWith("/*", at)) {
      depth += 1;
      at += 1;
    } else if (statement.startsWith("*/", at)) {
      depth -= 1;
      at += 1;
      if (depth === 0) return at + 1;
    }
  }
  return statement.length;
}

/** Position after the closing quote, or undefined when it is not certain where that is. */
function endOfString(statement: string, start: number, escapes: boolean): number | undefined {
  for (let at = start + 1; at < statement.length; at += 1) {
    const character = statement[at];
    if (character === "\\") {
      if (escapes) at += 1;
      else if (statement[at + 1] === "'") return undefined;
    } else if (character === "'") {
      if (statement[at + 1] === "'") at += 1;
      else return at + 1;
    }
  }
  return undefined;
}

function endOfQuoted(statement: string, start: number): number | undefined {
  for (let at = start + 1; at < statement.length; at += 1) {
    if (statement[at] !== '"') continue;
    if (statement[at + 1] === '"') at += 1;
    else return at + 1;
  }
  return undefined;
}
