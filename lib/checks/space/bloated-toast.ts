import { qualified } from "../../postgres/identifiers.ts";
import { bytesText, countText } from "../../words.ts";
import { round } from "../outcome.ts";
import { concludeReview, type ReviewCheck, type ReviewContext, type ReviewFinding } from "../review-check.ts";
import { userRelation } from "../user-objects.ts";
import { type Heap, type MeasuredHeap, measureHeaps } from "./bloat-measure.ts";
import { type BloatLimits, isBloat, rewriting } from "./bloated-tables.ts";

/** TOAST_TUPLES_PER_PAGE of `heaptoast.h`: chunks are cut so that four fill a page; the last of a value is shorter. */
const chunksPerPage = 4;
const highBytes = 10 * 2 ** 30;
const mediumBytes = 2 ** 30;

interface Toast extends Heap {
  schema: string;
  table: string;
  chunks: number;
  blockBytes: number;
}

/** TOAST tables, where long values live: their bloat shows in no query's plan, and only a rewrite of the table frees it. */
export function bloatedToastBeyond(limits: BloatLimits): ReviewCheck {
  return {
    name: "bloated-toast",
    title: "Which TOAST tables are mostly free space?",
    area: "space",
    async run(context) {
      const all = await readToasts(context, limits);
      // Nobody counts chunks until VACUUM does.
      const unknown = all.filter(({ chunks }) => chunks < 0);
      const suspects = all
        .filter(({ chunks }) => chunks >= 0)
        .map((toast) => ({
          toast,
          wastedBytes: Math.max(0, toast.pages - Math.ceil(toast.chunks / chunksPerPage)) * toast.blockBytes,
        }))
        .filter(({ toast, wastedBytes }) => isBloat(wastedBytes, toast.pages * toast.blockBytes, limits));
      const { measured, unmeasured, obstacle } = await measureHeaps(context, [
        ...suspects.map(({ toast }) => toast),
        ...unknown,
      ]);
      const findings: ReviewFinding[] = [];
      let unseen = 0;
      for (const { toast, wastedBytes } of suspects) {
        const found = measured.get(toast.oid);
        if (found === undefined)
          findings.push(suspected(toast, wastedBytes, unmeasured.get(toast.oid) ?? obstacle));
        else if (isBloat(found.wastedBytes, found.bytes, limits)) findings.push(confirmed(toast, found));
      }
      for (const toast of unknown) {
        const found = measured.get(toast.oid);
        if (found === undefined) unseen += 1;
        else if (isBloat(found.wastedBytes, found.bytes, limits)) findings.push(confirmed(toast, found));
      }
      return concludeReview({
        findings,
        facts: { largeToastTables: all.length, measured: measured.size },
        good: all.length === 0 ? [] : ["Long values fill the TOAST tables that hold them."],
        obstacle:
          unseen === 0
            ? undefined
            : `${countText(unseen, "TOAST table")} never vacuumed, and not measured: VACUUM; ${obstacle ?? ""}`.trim(),
      });
    },
  };
}

export const bloatedToast = bloatedToastBeyond({
  smallestBytes: 10 * 2 ** 20,
  wastedBytes: 100 * 2 ** 20,
  wastedPercent: 40,
});

function readToasts({ session }: ReviewContext, limits: BloatLimits): Promise<Toast[]> {
  return session.query<Toast>(
    `select t.oid::int8 as oid, n.nspname::text as schema, c.relname::text as table, t.relpages::int8 as pages,
            t.relallvisible::int8 as "allVisiblePages", t.reltuples::float8 as chunks, 100 as "fillFactor",
            current_setting('block_size')::int as "blockBytes"
       from pg_class c join pg_class t on t.oid = c.reltoastrelid join pg_namespace n on n.oid = c.relnamespace
      where c.relkind in ('r', 'm') and c.relpersistence <> 't'
        and t.relpages >= $1::float8 / current_setting('block_size')::int and ${userRelation()}
      order by t.relpages desc limit 500`,
    [limits.smallestBytes],
  );
}

function described(
  { schema, table }: Toast,
  wastedBytes: number,
  bytes: number,
): Omit<ReviewFinding, "confidence" | "evidence"> {
  const name = qualified(schema, table);
  return {
    check: "bloated-toast",
    key: `bloated-toast/${schema}.${table}`,
    severity: wastedBytes >= highBytes ? "high" : wastedBytes >= mediumBytes ? "medium" : "low",
    object: { schema, table },
    title: `${bytesText(wastedBytes)} of the ${bytesText(bytes)} of long values (TOAST) of ${name} hold nothing`,
    impact: "Disk, backups and replicas carry empty pages; new long values fill them again.",
    blastRadius: `disk and memory that others could use; reads of long values of ${name}`,
    rootCause: "Long values were deleted or replaced faster than VACUUM came to the TOAST table.",
    prevention: `Vacuum it earlier: ALTER TABLE ${name} SET (toast.autovacuum_vacuum_scale_factor = 0.05); keep values that change often out of rows with long ones.`,
    effort: "hours",
    remediation: rewriting(name, bytes - wastedBytes),
  };
}

function confirmed(toast: Toast, found: MeasuredHeap): ReviewFinding {
  return {
    ...described(toast, found.wastedBytes, found.bytes),
    confidence: "certain",
    evidence: {
      size: bytesText(found.bytes),
      wasted: bytesText(found.wastedBytes),
      wastedPercent: round((100 * found.wastedBytes) / found.bytes),
      dead: bytesText(found.deadBytes),
      measuredWith: "pgstattuple_approx",
    },
  };
}

function suspected(toast: Toast, wastedBytes: number, why: string | undefined): ReviewFinding {
  const bytes = toast.pages * toast.blockBytes;
  return {
    ...described(toast, wastedBytes, bytes),
    severity: "low",
    confidence: "suspected",
    evidence: {
      size: bytesText(bytes),
      wastedAtLeast: bytesText(wastedBytes),
      chunks: Math.round(toast.chunks),
      notMeasured: why ?? "no time was left",
    },
  };
}
