import type { Session } from "../ports/databases.ts";
import { type EarlierReview, parseEarlier } from "./compare.ts";
import type { ReviewReport } from "./run.ts";

/** Above this a report is stored without what only its reader needs; the keys stay, which the next run compares with. */
const storedBytes = 4 * 2 ** 20;

/** The newest stored review of this database, or undefined; one that another version of pgkeep wrote counts as none. */
export async function readNewestReview(session: Session): Promise<EarlierReview | undefined> {
  const [row] = await session.query<{ report: string }>(
    "select report::text as report from pgkeep.review_report order by started_at desc limit 1",
  );
  if (row === undefined) return undefined;
  try {
    return parseEarlier(row.report, "the stored review", session.database);
  } catch {
    return undefined;
  }
}

/** Keeps a report, and so many in all. Twice with one id is once. */
export async function storeReview(
  session: Session,
  id: string,
  report: ReviewReport,
  keep: number,
): Promise<void> {
  await session.transaction(async () => {
    await session.query(
      `insert into pgkeep.review_report (id, started_at, report) values ($1, $2::timestamptz, $3::jsonb)
       on conflict (id) do nothing`,
      [id, report.startedAt, storable(report)],
    );
    await session.query(
      `delete from pgkeep.review_report where id in
         (select id from pgkeep.review_report order by started_at desc, id offset $1::int)`,
      [keep],
    );
  });
}

/** As JSON that jsonb accepts: it knows no NUL, and a text may have been cut within a character. Exported for tests. */
export function storable(report: ReviewReport): string {
  const whole = asJson(report);
  if (Buffer.byteLength(whole) <= storedBytes) return whole;
  return asJson({
    ...report,
    results: report.results.map((result) => ({
      ...result,
      facts: {},
      good: [],
      findings: result.findings.map(({ check, key, severity, confidence, object, title, suppressed }) => ({
        check,
        key,
        severity,
        confidence,
        object,
        title,
        ...(suppressed === undefined ? {} : { suppressed }),
      })),
    })),
  });
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: NUL is what jsonb cannot hold.
const unstorable = /[\u0000\p{Surrogate}]/gu;

function asJson(value: unknown): string {
  return JSON.stringify(value, (_, inner) =>
    typeof inner === "string" ? inner.replace(unstorable, "\ufffd") : (inner as unknown),
  );
}
