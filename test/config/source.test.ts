import { describe, expect, it } from "vitest";
import { checkConfig, formatProblem } from "../../lib/config/load.ts";

const now = new Date("2026-06-01T00:00:00Z");
const problemsOf = (text: string) => checkConfig(text, { now }).problems.map(formatProblem);

/** Processor time since `started`: unlike the clock's, the same on a busy machine. */
function cpuMilliseconds(started: NodeJS.CpuUsage): number {
  return process.cpuUsage(started).user / 1000;
}

describe("text that is no YAML", () => {
  it.each([
    ["replicas:\n\tcount: 2\n", ["line 2, column 1: indented with a tab; YAML indents with spaces only"]],
    [
      "a: 1\n---\nb: 2\n",
      ["line 2, column 1: a second document begins here; a configuration is one document, without ---"],
    ],
    [
      "replicas: !!js/function x\n",
      ["line 1, column 11: tags such as !name are not used in a configuration"],
    ],
    ["replicas: {[1, 2]: 3}\n", ["line 1, column 12: a key must be a plain text"]],
  ])("%j is reported where it stands", (text, expected) => {
    expect(problemsOf(text)).toEqual(expected);
  });

  it.each([
    "replicas: {count: 2",
    'database: {name: "shop}',
    "a: b: c",
    "*nothing",
    "%YAML 9\n--- {}",
    "? - x\n: y\n:",
  ])("%j gives a line and a column", (text) => {
    const [first, ...others] = problemsOf(text);
    expect(first).toMatch(/line \d+/);
    expect(others.length).toBeLessThan(10);
  });

  it("never repeats a line with a secret", () => {
    const problems = problemsOf('password: "hunter2" hunter3\n  token: hunter4: hunter5\n');
    expect(problems.length).toBeGreaterThan(0);
    expect(problems.join("\n")).not.toContain("hunter");
  });
});

describe("keys given twice", () => {
  it("are reported with the line of the first, beside all other problems", () => {
    expect(problemsOf("replicas:\n  count: 2\n  maxLagSeconds: 0\n  count: 3\nreplicas: {}\n")).toEqual([
      "replicas.maxLagSeconds (line 3): 0 is not allowed; a whole number from 1 to 3600",
      "replicas.count (line 4): given twice; the first is on line 2",
      "replicas (line 5): given twice; the first is on line 1",
    ]);
  });
});

describe("aliases", () => {
  it("that contain themselves are reported", () => {
    expect(problemsOf("backups: &a {drill: *a}")).toContain(
      "backups.drill (line 1): an alias that contains itself",
    );
  });

  it("may not multiply into something huge", () => {
    const levels = Array.from({ length: 9 }, (_, level) =>
      level === 0
        ? "a0: &a0 [x, x, x, x, x, x, x, x, x]"
        : `a${level}: &a${level} [${Array(9)
            .fill(`*a${level - 1}`)
            .join(", ")}]`,
    );
    const started = process.cpuUsage();
    expect(problemsOf(levels.join("\n"))).toEqual([
      "the file has more than 100,000 values, aliases written out",
    ]);
    expect(cpuMilliseconds(started)).toBeLessThan(1000);
  });

  it("may not chain into something deep", () => {
    const chain = Array.from({ length: 100 }, (_, level) =>
      level === 0 ? "a0: &a0 [x]" : `a${level}: &a${level} [[*a${level - 1}]]`,
    );
    expect(problemsOf(chain.join("\n"))).toEqual(["the file is nested deeper than 32 levels"]);
  });
});

describe("size", () => {
  it.each([
    ["flow lists", "[".repeat(50_000)],
    ["closed flow lists", `${"[".repeat(20_000)}${"]".repeat(20_000)}`],
    ["flow mappings", "{a: ".repeat(20_000)],
    ["block lists", "- ".repeat(20_000)],
    ["a few levels too many", `a: ${"[".repeat(40)}${"]".repeat(40)}`],
  ])("is limited for nested %s, with one clear problem", (_, text) => {
    const { config, problems } = checkConfig(text, { now });
    expect(config).toBeUndefined();
    expect(problems.length).toBeGreaterThan(0);
    expect(problems.length).toBeLessThanOrEqual(10);
  });

  it("of more than 256 KiB is refused unread", () => {
    expect(problemsOf(" ".repeat(2 ** 18))).toEqual([]);
    expect(problemsOf(" ".repeat(2 ** 18 + 1))).toEqual([
      "the file is larger than 256 KiB, which no configuration of pgkeep is",
    ]);
  });

  it.each([
    "? ",
    "&a ",
    "[,",
    "!t ",
    "'",
    '"\\x',
    "- ",
    "a: ",
    "{",
    "%Y\n",
    "*a ",
    ">9\n ",
    "a:\n ",
    "- &a x\n- *a\n",
  ])("up to the limit, %j again and again gives few problems within seconds", (fragment) => {
    const started = process.cpuUsage();
    const problems = problemsOf(fragment.repeat(Math.floor(2 ** 18 / fragment.length)));
    expect(cpuMilliseconds(started)).toBeLessThan(15_000);
    expect(problems.length).toBeGreaterThan(0);
    expect(problems.join("\n").length).toBeLessThan(3000);
  });

  it.each([
    [
      "unknown keys",
      Array.from({ length: 10_000 }, (_, index) => `key${index}: ${index}`).join("\n"),
      10_000,
    ],
    [
      "databases",
      `account: {manualSnapshotsPerRegion: 100000}\ndatabases:\n${Array.from({ length: 2000 }, (_, index) => `  d${index}: {replicas: {count: 1}}`).join("\n")}`,
      0,
    ],
  ])("of thousands of %s takes seconds at most", (_, text, problems) => {
    const started = process.cpuUsage();
    expect(checkConfig(text, { now }).problems).toHaveLength(problems);
    expect(cpuMilliseconds(started)).toBeLessThan(8000);
  });
});
