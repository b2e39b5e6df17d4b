import { createHash } from "node:crypto";
import { printable } from "../checks/describe-health.ts";
import type { ReviewFinding } from "../checks/review-check.ts";
import type { ReviewReport } from "./run.ts";
import { whatToDo } from "./summary.ts";

/** Longer than this nobody waits behind a statement of a migration. */
const lockTimeout = "5s";

/** One finding's change as two files; in the order of their names they are safe to apply. */
export interface Migration {
  key: string;
  up: { name: string; text: string };
  down: { name: string; text: string };
}

/**
 * Kinds of change, in the order in which they are applied: what is only added first, what is taken away last, so that
 * nothing is missed between the two. The number stands in the name.
 */
const kinds: readonly [number: number, name: string, pattern: RegExp][] = [
  [50, "drop", /^(?:drop|alter\s+table\b[\s\S]*\bdrop\s+(?:column|constraint))\b/i],
  [40, "change", /^(?:alter|update|delete|truncate|reindex|vacuum|cluster)\b/i],
  [30, "index", /^create\s+(?:unique\s+)?index\b/i],
  [20, "validate", /\bvalidate\s+constraint\b/i],
  [10, "constraint", /\badd\s+(?:constraint|check|foreign\s+key|unique|primary\s+key)\b/i],
];
const other = [40, "change"] as const;

/** What PostgreSQL refuses within a transaction. */
const alonePattern =
  /\bconcurrently\b|^(?:vacuum|alter\s+system|create\s+database|drop\s+database|cluster)\b|^reindex\s+(?:database|system)\b/i;
const concurrentPattern = /\bconcurrently\b/i;

/** The migrations that the findings propose, in their order; the same change proposed twice is one. */
export function planFixes(report: ReviewReport): Migration[] {
  const seen = new Set<string>();
  const migrations: Migration[] = [];
  for (const finding of whatToDo(report)) {
    const { fix } = finding;
    if (fix === undefined || fix.up.every((statement) => seen.has(statement))) continue;
    for (const statement of fix.up) seen.add(statement);
    migrations.push(migrationOf(report, finding, fix));
  }
  return migrations.sort((a, b) => (a.up.name < b.up.name ? -1 : 1));
}

function migrationOf(
  report: ReviewReport,
  finding: ReviewFinding,
  fix: NonNullable<ReviewFinding["fix"]>,
): Migration {
  const [number, kind] = kindOf(fix.up);
  const base = `${number}-${kind}-${slug(finding.key)}-${hash(`${report.database}\n${finding.key}`)}`;
  const why = [
    `${finding.title} (${finding.severity}, ${finding.confidence})`,
    `Key: ${finding.key}`,
    `Database: ${report.database}, PostgreSQL ${report.server.version}`,
    `Impact: ${finding.impact}`,
    `Lock: ${finding.remediation.lock}`,
  ];
  const proof = fix.proof.map((line) => `Proof: ${line}`);
  return {
    key: finding.key,
    up: { name: `${base}.up.sql`, text: fileOf([...why, ...proof], fix.up) },
    down: {
      name: `${base}.down.sql`,
      text: fileOf(
        fix.down.length > 0
          ? [`Takes back ${base}.up.sql`, `Key: ${finding.key}`]
          : [`No statement takes back ${base}.up.sql: ${finding.remediation.rollback}`],
        fix.down,
      ),
    },
  };
}

/** The most that one of its statements does; those of one finding stay together and in their order. */
function kindOf(statements: readonly string[]): readonly [number, string] {
  const found = statements.map((statement) => {
    const text = withoutNames(statement);
    // VALIDATE and ADD are ALTER TABLE too: the particular before the general, but a DROP decides.
    const matching = kinds.filter(([, , pattern]) => pattern.test(text));
    const particular = matching.find(([number]) => number !== 40) ?? matching[0];
    return particular === undefined ? other : ([particular[0], particular[1]] as const);
  });
  return found.reduce((most, one) => (one[0] > most[0] ? one : most), found[0] ?? other);
}

/** Names and texts say nothing about what a statement does. */
function withoutNames(statement: string): string {
  return statement.replace(/"(?:[^"]|"")*"|'(?:[^']|'')*'/g, "x").trim();
}

function fileOf(comments: readonly string[], statements: readonly string[]): string {
  const alone = statements.map((statement) => alonePattern.test(withoutNames(statement)));
  const lines = comments.map(comment);
  lines.push(
    comment(
      alone.includes(true)
        ? "NO TRANSACTION: PostgreSQL refuses some of this within one. Run each statement by itself, in this order."
        : "May run in one transaction.",
    ),
  );
  if (statements.length > 0) lines.push("", `SET lock_timeout = '${lockTimeout}';`);
  for (const [index, statement] of statements.entries()) {
    const concurrent = concurrentPattern.test(withoutNames(statement));
    lines.push("");
    if (alone[index] === true) lines.push(comment("Alone, outside a transaction:"));
    if (concurrent) {
      // It waits for transactions that began before it, and nobody waits for it meanwhile.
      lines.push(
        "SET lock_timeout = 0; -- nobody queues behind it, and cut off it would leave an invalid index",
      );
    }
    lines.push(statement.trim());
    if (concurrent && index < statements.length - 1) lines.push(`SET lock_timeout = '${lockTimeout}';`);
  }
  return sealed(`${lines.join("\n")}\n`);
}

/** A comment of one line whatever it contains. */
function comment(text: string): string {
  return `-- ${printable(text)}`;
}

const seal = /^-- Made by pgkeep review, ([0-9a-f]{8})\n/;

function sealed(text: string): string {
  return `-- Made by pgkeep review, ${hash(text)}\n${text}`;
}

/** Whether a file is one of ours that nobody has edited. */
export function isUntouched(text: string): boolean {
  const found = seal.exec(text);
  return found !== null && found[1] === hash(text.slice(found[0].length));
}

function hash(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 8);
}

const slugLength = 60;

function slug(key: string): string {
  return key
    .replace(/[^A-Za-z0-9_]+/g, "-")
    .slice(0, slugLength)
    .replace(/^-|-$/g, "");
}
