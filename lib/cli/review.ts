import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { Option } from "commander";
import { closest } from "fastest-levenshtein";
import type { Severity } from "../checks/check.ts";
import { assessedAnything, hasFindingAtLeast, severities } from "../checks/health.ts";
import type { ReviewCheck } from "../checks/review-check.ts";
import { reviewChecks } from "../checks/review-checks.ts";
import { readSuppressions, type Suppression } from "../config/suppressions.ts";
import type { Environment } from "../environment.ts";
import { errorMessage, PgkeepError, UsageError } from "../errors.ts";
import { compare, parseEarlier } from "../review/compare.ts";
import { type Reviewed, reviewServers } from "../review/connect.ts";
import { planFixes } from "../review/fixes.ts";
import { reviewPage } from "../review/html/page.ts";
import { renderMarkdown } from "../review/markdown.ts";
import type { ReviewReport } from "../review/run.ts";
import { summarize } from "../review/summary.ts";
import { configuredSuppressions, suppress } from "../review/suppressions.ts";
import { describeReview } from "../review/text.ts";
import { countText } from "../words.ts";
import type { Cli, ExitCode, GlobalOptions, Register } from "./cli.ts";
import { parseSeverity } from "./health.ts";
import { wholeNumber } from "./options.ts";
import { writeFixes } from "./review-fixes.ts";

/** How a report is written, and how its file is named. */
const formats = {
  text: { extension: "txt", render: (report: ReviewReport) => describeReview(report).join("\n") },
  json: { extension: "json", render: (report: ReviewReport) => JSON.stringify(report, null, 2) },
  markdown: { extension: "md", render: (report: ReviewReport) => renderMarkdown(report).trimEnd() },
  html: { extension: "html", render: reviewPage },
} as const;

type Format = keyof typeof formats;

/** Of files, unless --format says otherwise. */
const fileFormat: Format = "markdown";

interface ReviewOptions extends GlobalOptions {
  format?: Format;
  out?: string;
  only?: ReviewCheck[];
  failOn?: Severity;
  budget: number;
  observe?: number;
  compare?: string;
  suppressions?: string;
  fixes?: string;
}

/** `pgkeep review`: what is wrong with a database, how sure that is, and the fix. Reads only. */
export const registerReview: Register = (program, cli) => {
  program
    .command("review")
    .summary("what is wrong with the database, how sure that is, and the fix")
    .description(
      "Ask every question of the review (docs/checks.md) and report what to do first, with evidence and the statements\n" +
        "that mend it. Reads only, in read-only transactions, with limits on every statement; a standby will do.\n" +
        "Exits with 3 when nothing could be assessed, or the connection or the budget ended before the last check.",
    )
    .addOption(
      new Option("--format <format>", "how the report is written (default: text)").choices(
        Object.keys(formats),
      ),
    )
    .option(
      "--out <directory>",
      "write the report there as database-review-YYYY-MM-DD; the short text is still printed",
    )
    .option("--only <checks>", "ask only these, separated by commas", parseChecks)
    .option(
      "--fail-on <severity>",
      `exit with 1 when there is a finding this bad or worse: ${severities.join(", ")}`,
      parseSeverity,
    )
    .option("--budget <seconds>", "end after so many seconds", wholeNumber(1, 3_600), 60)
    .option("--observe <duration>", "look at the statements twice, so far apart: 60s, 5m", parseDuration)
    .option("--suppressions <file>", "findings that do not count (default: review.suppressions)")
    .option(
      "--fixes <directory>",
      "write the proposed changes there as migrations, up and down, in a safe order",
    )
    .option("--compare <file>", "say what is new and what is fixed since an earlier review, by its JSON")
    .action(async (_: unknown, command) => {
      const options = command.optsWithGlobals() as ReviewOptions;
      const environment = await cli.open(options);
      try {
        const earlier = await readGiven(options.compare, "--compare", cli);
        const suppressions = await suppressionsOf(options, environment, cli);
        const report = await reviewEnvironment(environment, {
          ...(options.only === undefined ? {} : { checks: options.only }),
          budgetSeconds: options.budget,
          ...(options.observe === undefined ? {} : { observeSeconds: options.observe }),
          signal: cli.signal,
          everyReplica: options.replica !== undefined,
          ...(cli.isTerminal ? { progress: ({ title }: ReviewCheck) => cli.note(title) } : {}),
        });
        if (earlier !== undefined) {
          report.comparison = compare(parseEarlier(earlier.text, earlier.file, report.database), report);
        }
        if (suppressions !== undefined) suppress(report, suppressions);
        await give(report, options, cli);
        if (options.fixes !== undefined) {
          const directory = resolve(cli.workingDirectory, options.fixes);
          const migrations = planFixes(report);
          await writeFixes(migrations, directory);
          cli.note(`${countText(migrations.length, "migration")} written to ${directory}`);
        }
        cli.setExitCode(exitCodeOf(report, options.failOn));
      } finally {
        await environment.close();
      }
    });
};

type Asked = Omit<Reviewed, "primary" | "replicas" | "config">;

/** @throws PgkeepError `refused` where there is no database, `unreachable`, `authentication` … */
export async function reviewEnvironment(environment: Environment, asked: Asked): Promise<ReviewReport> {
  const { primary, replicas } = environment.ports;
  if (primary === undefined) {
    throw new PgkeepError("refused", `${environment.description} has no database to ask`, {
      remedy: "give --url postgres://…",
    });
  }
  return reviewServers({ ...asked, primary, replicas, config: environment.config });
}

/** By the option, whose name counts from the working directory, else by the setting. @throws UsageError */
async function suppressionsOf(
  options: ReviewOptions,
  { config }: Environment,
  cli: Cli,
): Promise<readonly Suppression[] | undefined> {
  if (options.suppressions === undefined) return configuredSuppressions(config);
  return readSuppressions(resolve(cli.workingDirectory, options.suppressions), "--suppressions");
}

/** @param where the option that names the file. @throws UsageError */
async function readGiven(
  name: string | undefined,
  where: string,
  cli: Cli,
): Promise<{ file: string; text: string } | undefined> {
  if (name === undefined) return undefined;
  const file = resolve(cli.workingDirectory, name);
  try {
    return { file, text: await readFile(file, "utf8") };
  } catch (error) {
    throw new UsageError(`the file of ${where} cannot be read: ${errorMessage(error)}`, {
      remedy: `give a file that exists with ${where}`,
      cause: error,
    });
  }
}

/** The gate first: what was found is bad enough even when not all was seen. */
export function exitCodeOf(report: ReviewReport, failOn: Severity | undefined): ExitCode {
  const counted = { summary: summarize(report) };
  if (failOn !== undefined && hasFindingAtLeast(counted, failOn)) return 1;
  return report.incomplete !== undefined || !assessedAnything(counted) ? 3 : 0;
}

/** On standard output what was asked for; with `--out` the file has the format, and the terminal the short text. */
async function give(report: ReviewReport, options: ReviewOptions, cli: Cli): Promise<void> {
  const format = options.format ?? (options.out === undefined ? "text" : fileFormat);
  if (options.json === true) cli.json(report);
  else cli.out(formats[options.out === undefined ? format : "text"].render(report));
  if (options.out === undefined) return;
  const directory = resolve(cli.workingDirectory, options.out);
  cli.note(`The report is in ${await writeReport(report, format, directory)}`);
}

/** @returns the file's name */
async function writeReport(report: ReviewReport, format: Format, directory: string): Promise<string> {
  const { extension, render } = formats[format];
  const file = join(directory, `database-review-${report.startedAt.slice(0, 10)}.${extension}`);
  try {
    await mkdir(directory, { recursive: true });
    await writeFile(file, `${render(report)}\n`);
  } catch (error) {
    throw new PgkeepError("refused", `the report cannot be written: ${errorMessage(error)}`, {
      remedy: "give a directory that can be written with --out",
      cause: error,
    });
  }
  return file;
}

/** @throws UsageError with the closest names */
function parseChecks(text: string): ReviewCheck[] {
  const names = [...new Set(text.split(",").map((name) => name.trim()))];
  const all = reviewChecks.map(({ name }) => name);
  const unknown = names.filter((name) => !all.includes(name));
  if (unknown.length > 0) {
    throw new UsageError(
      `--only names no check of the review: ${unknown.map((name) => JSON.stringify(name)).join(", ")}`,
      { remedy: `did you mean ${unknown.map((name) => closest(name, all)).join(", ")}?` },
    );
  }
  return reviewChecks.filter(({ name }) => names.includes(name));
}

const longestObservationSeconds = 3_600;

/** `60`, `60s` or `5m`, in seconds. @throws UsageError */
export function parseDuration(text: string): number {
  const match = /^(\d{1,6})(s|m|min)?$/.exec(text);
  const seconds = match === null ? Number.NaN : Number(match[1]) * (/^m/.test(match[2] ?? "") ? 60 : 1);
  if (!(seconds >= 1 && seconds <= longestObservationSeconds)) {
    throw new UsageError(`${JSON.stringify(text)} is no time to observe for`, {
      remedy: "give seconds or minutes up to an hour: 60s, 5m",
    });
  }
  return seconds;
}
