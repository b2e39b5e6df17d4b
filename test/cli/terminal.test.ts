import { describe, expect, it } from "vitest";
import { createCli } from "../../lib/cli/terminal.ts";

describe("what the command line prints", () => {
  const written: string[] = [];
  const stream = { write: (text: string) => written.push(text) };
  const cli = createCli({
    stdout: stream,
    stderr: stream,
    signal: new AbortController().signal,
    homeDirectory: "/",
    workingDirectory: "/",
    databaseUrl: undefined,
  });
  const hostile = "a\u001b[2J\u001b]0;title\u0007\r\u0000\u009b31m\u202eb\n\tc";

  it("lets nothing act on the terminal that comes from a name or a message", () => {
    written.length = 0;
    cli.out(hostile);
    cli.note(hostile);
    const shown = "a\\u001b[2J\\u001b]0;title\\u0007\\u000d\\u0000\\u009b31m\\u202eb\n\tc\n";
    expect(written).toEqual([shown, shown]);
  });

  it("keeps a document what it was", () => {
    written.length = 0;
    cli.json({ [hostile]: [hostile] });
    expect(JSON.parse(written.join(""))).toEqual({ [hostile]: [hostile] });
    // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what must not be there.
    expect(written.join("")).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
  });
});
