import { countText } from "../../words.ts";
import type { Finding } from "../check.ts";
import { concludeReview, type ReviewCheck, type ReviewContext, type ReviewFinding } from "../review-check.ts";

interface Look {
  object: string;
  checkedAt: Date | null;
  tooLongSeconds: number | null;
  problems: Finding[] | null;
}

/** check-integrity comes to every object in so many days by default; what is older than twice that is no news. */
const freshDays = 35;
const enabling = "pgkeep run check-integrity";

/**
 * Damaged pages and indexes, orphaned rows: finding them means reading everything, which is the job check-integrity's
 * business. What its last looks have found is told here, not looked for again.
 */
export const damagedObjects: ReviewCheck = {
  name: "damaged-objects",
  title: "Has check-integrity found damage, orphaned rows or violated constraints?",
  area: "integrity",
  async run(context) {
    const looks = await readLooks(context);
    if (typeof looks === "string") return concludeReview({ obstacle: looks });
    const oldest = new Date(context.now.getTime() - freshDays * 86_400_000);
    const checked = looks.filter(({ checkedAt }) => checkedAt !== null);
    const old = checked.filter(({ checkedAt }) => checkedAt !== null && checkedAt < oldest);
    const unseen = looks.length - checked.length;
    const times = checked.flatMap(({ checkedAt }) => (checkedAt === null ? [] : [checkedAt.getTime()]));
    const known = new Set<string>();
    return concludeReview({
      findings: looks
        .flatMap((look) => (look.problems ?? []).map((one) => finding(one, look)))
        .filter(({ key }) => !known.has(key) && known.add(key)),
      facts: {
        objectsLookedAt: checked.length,
        notYetLookedAt: unseen,
        oldestLook: times.length === 0 ? null : new Date(Math.min(...times)).toISOString(),
      },
      good: [
        `check-integrity has looked at ${countText(checked.length, "object")} (pages, indexes, references) and found nothing wrong.`,
      ],
      obstacle:
        checked.length === 0
          ? `nothing has been looked at yet: ${enabling}`
          : unseen + old.length > 0
            ? `${countText(unseen + old.length, "object")} not looked at in the last ${freshDays} days: ${enabling}, on its schedule`
            : undefined,
    });
  },
};

/** As text: why there are none. */
async function readLooks({ session }: ReviewContext): Promise<Look[] | string> {
  const [row] = await session.query<{ installed: boolean; readable: boolean }>(
    `select c.oid is not null as installed,
            coalesce(has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select'), false) as readable
       from (select 1) as one
       left join pg_namespace n on n.nspname = 'pgkeep'
       left join pg_class c on c.relnamespace = n.oid and c.relname = 'integrity_look' and c.relkind = 'r'`,
  );
  if (row?.installed !== true) {
    return `pages and indexes are looked at by check-integrity, which keeps its results in the schema pgkeep: pgkeep install, then ${enabling}`;
  }
  if (!row.readable) {
    return `the role ${session.user} may not read pgkeep.integrity_look: ask as pgkeep_monitoring, or grant SELECT on it`;
  }
  return session.query<Look>(
    `select object_name as object, checked_at as "checkedAt", too_long_seconds as "tooLongSeconds", problems
       from pgkeep.integrity_look order by object_name, item`,
  );
}

const rootCauses: Readonly<Record<string, string>> = {
  "corrupt-table":
    "Storage or memory gave back something else than was written, or a bug of the server wrote it.",
  "corrupt-index": "Storage, a changed collation, or a bug of the server.",
  "orphaned-rows": "Rows came in while triggers were off, or before the constraint was validated.",
  "constraint-violations": "The constraint was added NOT VALID, and older rows were not corrected.",
  "suspected-orphans": "No foreign key keeps the rows of both tables together.",
  "values-outside-set": "Nothing keeps other values out of the column.",
  "sequence-behind": "Rows came with numbers of their own, without the sequence.",
};

/** As check-integrity worded it, without the keys of rows that it names. */
function finding(problem: Finding, look: Look): ReviewFinding {
  const { keys: _, ...evidence } = problem.evidence;
  const since = look.checkedAt?.toISOString();
  return {
    ...problem,
    check: "damaged-objects",
    key: `damaged-objects/${problem.key}`,
    evidence: { ...evidence, ...(since === undefined ? {} : { lookedAt: since }) },
    rootCause: rootCauses[problem.check] ?? "See the run of check-integrity that found it.",
    prevention:
      "Keep check-integrity on its schedule, with page checksums and validated constraints, and act on its alarm.",
    effort: problem.severity === "critical" ? "hours" : "minutes",
    ...(since === undefined ? {} : { since }),
  };
}
