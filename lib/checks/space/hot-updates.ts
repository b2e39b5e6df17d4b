import { qualified } from "../../postgres/identifiers.ts";
import { majorOf } from "../../postgres/versions.ts";
import { bytesText } from "../../words.ts";
import { readTables, type TableEntry, type Tables } from "../indexes/tables.ts";
import { readUsageWindow } from "../indexes/usage-window.ts";
import { round } from "../outcome.ts";
import { concludeReview, type ReviewCheck, type ReviewContext, type ReviewFinding } from "../review-check.ts";

export interface HotLimits {
  /** Fewer updates a day cost nothing, whatever they are. */
  updatesPerDay: number;
  updates: number;
  shortestDays: number;
}

/** Of all updates, that many stay out of the indexes in a healthy busy table. */
const lowShare = 0.5;
/** Of the others, that many went to another page (16 and newer): there was no room on theirs. */
const noRoomShare = 0.5;
const wantedFillFactor = 90;

interface Detail {
  oid: number;
  fillFactor: number | null;
  newPage: number | null;
  indexes: number;
}

/**
 * Busy tables whose updates enter every index anew, because the page had no room for another version of the row (a lower
 * fillfactor leaves some) or because an indexed column changes.
 */
export function hotUpdatesWithin(limits: HotLimits): ReviewCheck {
  return {
    name: "hot-updates",
    title: "Do updates of busy tables enter every index anew?",
    area: "space",
    needs: { primary: true },
    async run(context) {
      const tables = await readTables(context);
      const since = await readUsageWindow(context.session, context.window);
      const days = (context.now.getTime() - since.getTime()) / 86_400_000;
      const busy = tables.all.filter(
        (one) =>
          one.parent === null &&
          one.updated >= limits.updates &&
          one.updated / Math.max(days, 1 / 24) >= limits.updatesPerDay,
      );
      const cold = busy.filter((one) => one.hotUpdated < one.updated * lowShare);
      if (cold.length > 0 && days < limits.shortestDays) {
        return concludeReview({
          facts: { busyTables: busy.length, since: since.toISOString() },
          obstacle: `updates are counted since ${since.toISOString()} only: ask again when that is a day`,
        });
      }
      const details = await readDetails(context, cold, tables);
      return concludeReview({
        findings: cold.flatMap((one) => {
          const detail = details.get(one.oid);
          // Without an index there is nothing to enter anew.
          return detail === undefined || detail.indexes === 0
            ? []
            : [finding(one, detail, since, one.pages * tables.blockBytes)];
        }),
        facts: { busyTables: busy.length, since: since.toISOString() },
        good: busy.length === 0 ? [] : ["Most updates of busy tables stay out of the indexes (HOT)."],
      });
    },
  };
}

export const hotUpdates = hotUpdatesWithin({ updatesPerDay: 100_000, updates: 100_000, shortestDays: 1 });

async function readDetails(
  { session }: ReviewContext,
  wanted: readonly TableEntry[],
  tables: Tables,
): Promise<Map<number, Detail>> {
  if (wanted.length === 0) return new Map();
  const leaves = wanted.flatMap((one) =>
    (one.kind === "p" ? tables.leavesOf(one) : [one]).map((leaf) => ({ leaf: leaf.oid, whole: one.oid })),
  );
  const newPage =
    majorOf(session.serverVersionNumber) >= 16 ? "pg_stat_get_tuples_newpage_updated(l.oid)" : "null::int8";
  const rows = await session.query<Detail>(
    `select c.oid::int8 as oid,
            case when c.relkind = 'p' then null else coalesce((select option_value::int from pg_options_to_table(c.reloptions)
              where option_name = 'fillfactor'), 100) end as "fillFactor",
            (select sum(${newPage})::int8 from unnest($2::oid[], $3::oid[]) as l(oid, whole) where l.whole = c.oid) as "newPage",
            (select count(*)::int from pg_index x where x.indrelid = c.oid) as indexes
       from pg_class c where c.oid = any ($1::oid[])`,
    [wanted.map(({ oid }) => oid), leaves.map(({ leaf }) => leaf), leaves.map(({ whole }) => whole)],
  );
  return new Map(rows.map((row) => [row.oid, row]));
}

function finding(table: TableEntry, detail: Detail, since: Date, bytes: number): ReviewFinding {
  const name = qualified(table.schema, table.table);
  const others = table.updated - table.hotUpdated;
  const percent = round((100 * table.hotUpdated) / table.updated);
  const noRoom = detail.newPage === null ? null : detail.newPage / Math.max(1, others) >= noRoomShare;
  // From what is known: 16 and newer count it; a table that leaves room already has another reason.
  const helps = noRoom !== false && detail.fillFactor === 100;
  const up = `ALTER TABLE ${name} SET (fillfactor = ${wantedFillFactor});`;
  const down = `ALTER TABLE ${name} RESET (fillfactor);`;
  const numbers = `${table.hotUpdated} of ${table.updated} updates were HOT since ${since.toISOString()}`;
  return {
    check: "hot-updates",
    key: `hot-updates/${table.schema}.${table.table}`,
    severity: "low",
    confidence: noRoom === null ? "suspected" : "likely",
    object: { schema: table.schema, table: table.table },
    title: `${round(100 - percent)} % of the updates of ${name} enter its indexes anew`,
    evidence: {
      updates: table.updated,
      hotPercent: percent,
      toAnotherPage: detail.newPage,
      fillFactor: detail.fillFactor,
      indexes: detail.indexes,
      size: bytesText(bytes),
      countedSince: since.toISOString(),
    },
    impact:
      "Each such update writes to every index of the table and to the log, and leaves entries that only VACUUM removes.",
    blastRadius: `updates of ${name}; size of its indexes, of the log and of what replicas receive`,
    rootCause:
      noRoom === false
        ? "Most of them change a column that is indexed, or found room on their page and were no HOT update all the same."
        : noRoom === true
          ? "Pages are filled to the end, so the new version of a row finds no room beside the old one."
          : "Pages have no room for a second version of a row, or an indexed column is updated.",
    prevention:
      "Give tables that are updated a lot a fillfactor below 100, and index no column that changes with each update.",
    effort: "minutes",
    since: since.toISOString(),
    remediation: helps
      ? {
          sql: up,
          lock: "SHARE UPDATE EXCLUSIVE for a moment; it holds for pages that are filled from now on",
          rollback: down,
        }
      : {
          sql: `-- Which index has a column that changes with each update?\nSELECT indexrelid::regclass, pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = '${name.replaceAll("'", "''")}'::regclass;`,
          lock: "none to look",
          rollback: "none needed",
        },
    ...(helps ? { fix: { up: [up], down: [down], proof: [numbers] } } : {}),
  };
}
