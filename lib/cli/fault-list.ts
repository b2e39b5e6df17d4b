import type { Fault } from "../sandbox/faults/fault.ts";
import { faultUsage } from "../sandbox/faults/index.ts";

/** Narrower than any terminal that the help is wrapped for. */
const width = 78;
const indentation = " ".repeat(6);

/** Each fault's word on a line of its own, and what it does below. */
export function faultList(faults: readonly Fault[]): string {
  return faults.map((fault) => [`  ${faultUsage(fault)}`, ...indented(fault.summary)].join("\n")).join("\n");
}

function indented(text: string): string[] {
  const lines: string[] = [];
  let line = indentation;
  for (const word of text.split(" ")) {
    if (line !== indentation && line.length + word.length > width) {
      lines.push(line.trimEnd());
      line = indentation;
    }
    line += `${word} `;
  }
  return [...lines, line.trimEnd()];
}
