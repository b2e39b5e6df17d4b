import type { Severity } from "../checks/check.ts";
import { assessedAnything, type HealthSummary } from "../checks/health.ts";
import type { ReviewFinding } from "../checks/review-check.ts";
import type { Suppression } from "../config/suppressions.ts";
import { requireSchema } from "../install/schema-version.ts";
import type { Json } from "../json.ts";
import { type Comparison, compare } from "../review/compare.ts";
import { reviewServers } from "../review/connect.ts";
import { readNewestReview, storeReview } from "../review/store.ts";
import { bySeverity, obstacles, summarize, whatToDo } from "../review/summary.ts";
import { configuredSuppressions, type SuppressionsReport, suppress } from "../review/suppressions.ts";
import { describeSuppressions } from "../review/text.ts";
import { countText } from "../words.ts";
import { defineJob, done, failed, type StepContext, step } from "./job.ts";

/** Findings that the report of a run names; all of them are in the stored one. */
const reported = 20;
/** Longest text of a report of a run, which is a step's result too. */
const reportedCharacters = 300;

/** What a run reports: short, because a step's result is. The whole review is in `pgkeep.review_report`. */
export interface ReviewDatabaseReport {
  database: string;
  startedAt: string;
  summary: HealthSummary;
  checks: number;
  /** What to do first, at most twenty. */
  findings: { key: string; severity: Severity; confidence: string; title: string }[];
  /** Since the stored review before; absent on the first run. */
  comparison?: { since: string; new: string[]; fixed: string[]; still: number; unknown: number };
  notAssessable: { reason: string; checks: string[] }[];
  replicasUnseen: string[];
  incomplete?: string;
  /** What became of the file of `review.suppressions`; of each list at most twenty. Absent without one. */
  suppressions?: SuppressionsReport;
  stored: boolean;
}

/**
 * Asks every question of the review each week, keeps the report, and says what is new. Findings do not fail it; those
 * that the file of `review.suppressions` accepts do not count, as with `pgkeep review`.
 */
export const reviewDatabase = defineJob({
  name: "review-database",
  summary: "Review schema, queries, security and settings, and say what is new",
  schedule: "30 5 * * 1",
  supportsDryRun: true,
  describe: describeReviewRun,
  steps: [
    step("review", {
      where: "database",
      needs: ["primary", "replicas"],
      timeoutSeconds: 900,
      readsSuppressions: true,
      run: async (context: StepContext<Record<string, never>, "primary" | "replicas">) => {
        const { primary, replicas } = context.ports;
        const settings = context.config.review;
        const suppressions = configuredSuppressions(context.config);
        const earlier = await onPrimary(context, readNewestReview);
        const report = await reviewServers({
          primary,
          replicas,
          config: context.config,
          budgetSeconds: Math.min(settings.budgetSeconds, context.timeLeft() / 1000),
          signal: context.deadline,
          progress: ({ title }) => context.progress(title),
        });
        if (earlier !== undefined) report.comparison = compare(earlier, report);
        if (suppressions !== undefined) suppress(report, suppressions);
        const summary = summarize(report);
        const assessed = assessedAnything({ summary });
        // A review that saw nothing is nothing to compare with.
        const stored = assessed && !context.dryRun;
        if (stored) {
          await onPrimary(context, (session) =>
            storeReview(session, context.run.id, report, settings.keepReports),
          );
        }
        const short = asJson({
          database: report.database,
          startedAt: report.startedAt,
          summary,
          checks: report.results.length,
          findings: whatToDo(report).slice(0, reported).map(shortened),
          ...(report.comparison === undefined ? {} : { comparison: shortComparison(report.comparison) }),
          notAssessable: [...obstacles(report)]
            .slice(0, reported)
            .map(([reason, checks]) => ({ reason: cut(reason), checks })),
          replicasUnseen: (report.replicasUnseen ?? []).map(({ name }) => name),
          ...(report.incomplete === undefined ? {} : { incomplete: cut(report.incomplete) }),
          ...(report.suppressions === undefined
            ? {}
            : { suppressions: shortSuppressions(report.suppressions) }),
          stored,
        });
        return assessed
          ? done(short)
          : failed(short, `none of ${countText(report.results.length, "check")} could be assessed`);
      },
    }),
  ],
});

type Context = StepContext<Record<string, never>, "primary" | "replicas">;
type PrimarySession = Awaited<ReturnType<Context["ports"]["primary"]["connect"]>>;

/** A session of its own: that of the review is read-only. */
async function onPrimary<T>(context: Context, body: (session: PrimarySession) => Promise<T>): Promise<T> {
  const session = await context.ports.primary.connect({ role: "monitoring", signal: context.deadline });
  try {
    await requireSchema(session);
    return await body(session);
  } finally {
    await session.close();
  }
}

function shortened({ key, severity, confidence, title }: ReviewFinding) {
  return { key: cut(key), severity, confidence, title: cut(title) };
}

function shortComparison({ since, fixed, still, unknown, ...found }: Comparison) {
  const titles = (findings: readonly { title: string }[]) =>
    findings.slice(0, reported).map(({ title }) => cut(title));
  return {
    since,
    new: titles(found.new),
    fixed: titles(fixed),
    still: still.length,
    unknown: unknown.length,
  };
}

function shortSuppressions({ used, expired, stale, endless }: SuppressionsReport): SuppressionsReport {
  const short = <One extends Suppression>(list: readonly One[]) =>
    list.slice(0, reported).map((one) => ({ ...one, key: cut(one.key), reason: cut(one.reason) }));
  return { used: short(used), expired: short(expired), stale: short(stale), endless: short(endless) };
}

function cut(text: string): string {
  const characters = [...text];
  return characters.length <= reportedCharacters
    ? text
    : `${characters.slice(0, reportedCharacters).join("")}…`;
}

function describeReviewRun(report: ReviewDatabaseReport): string[] {
  const { summary, comparison } = report;
  return [
    `${report.database}: ${bySeverity(summary.findings) || "nothing found"}; ${summary.passed} of ${countText(
      report.checks,
      "check",
    )} passed${summary.notAssessable === 0 ? "" : `, ${summary.notAssessable} not assessable`}`,
    ...(report.incomplete === undefined ? [] : [`Not complete: ${report.incomplete}`]),
    ...(comparison === undefined
      ? []
      : [
          `Since ${comparison.since}: ${comparison.new.length} new, ${comparison.fixed.length} fixed, ${comparison.still} still there, ${comparison.unknown} unknown`,
          ...comparison.new.map((title) => `  new: ${title}`),
          ...comparison.fixed.map((title) => `  fixed: ${title}`),
        ]),
    ...report.findings.map(({ severity, title }) => `  ${severity}: ${title}`),
    ...(report.suppressions === undefined
      ? []
      : describeSuppressions(report.suppressions).filter((line) => line !== "")),
    `All of it: pgkeep review${report.stored ? ", or pgkeep.review_report" : ""}`,
  ];
}

/** The report has no value that JSON lacks; its interfaces only have no index signature. */
function asJson(report: ReviewDatabaseReport): Json {
  return report as unknown as Json;
}
