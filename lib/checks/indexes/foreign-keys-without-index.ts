import { errorMessage, PgkeepError } from "../../errors.ts";
import type { Json } from "../../json.ts";
import { identifier, qualified } from "../../postgres/identifiers.ts";
import { bytesText, countText } from "../../words.ts";
import type { Severity } from "../check.ts";
import { type ForeignKey, readForeignKeys } from "../constraints/foreign-keys.ts";
import { explainGeneric, nodesOf } from "../generic-plan.ts";
import { proofTime } from "../proof-time.ts";
import { concludeReview, type ReviewCheck, type ReviewContext, type ReviewFinding } from "../review-check.ts";
import { type IndexEntry, readIndexCatalogue } from "./catalogue.ts";
import { creationOf, FreeNames } from "./creations.ts";
import { KeyCover } from "./foreign-key-cover.ts";
import { readTables, type TableEntry, type Tables } from "./tables.ts";
import { largest } from "./weigh.ts";

/** A scan of so few rows is as fast as an index. */
const smallRows = 1_000;
/** From here on a scan takes milliseconds, and from there on seconds, on any machine. */
const mediumRows = 10_000;
const largeRows = 1_000_000;
/** Plans are shown for so many, those of the largest tables. */
const shownPlans = 5;

/** Keys on the same columns of a table: one index serves them all. */
interface Gap {
  keys: ForeignKey[];
  key: ForeignKey;
  table: TableEntry;
  narrowing: IndexEntry | undefined;
  /** Rows that were deleted from the referenced tables since the statistics began. */
  parentDeletes: number;
}

/**
 * Foreign keys whose referencing side has no index: each DELETE of a referenced row, and each UPDATE of its key,
 * reads the whole referencing table while it holds its locks (PostgreSQL, "Foreign Keys"). Small tables are low.
 */
export const foreignKeysWithoutIndex: ReviewCheck = {
  name: "foreign-keys-without-index",
  title: "Has each foreign key an index on the referencing side?",
  area: "indexes",
  async run(context) {
    const [keys, catalogue, tables] = [
      await readForeignKeys(context),
      await readIndexCatalogue(context),
      await readTables(context),
    ];
    const cover = new KeyCover(keys, catalogue);
    const own = keys.filter((key) => key.parent === null);
    const gaps = gapsOf(own, cover, tables);
    const names = new FreeNames(catalogue, tables);
    const findings: ReviewFinding[] = [];
    const hasTime = proofTime(context);
    const listed = largest(gaps, ({ table }) => table.pages);
    for (const [at, gap] of listed.entries()) {
      const plan = at < shownPlans && hasTime() ? await planOf(context, gap) : undefined;
      findings.push(finding(gap, plan, names, tables));
    }
    return concludeReview({
      facts: { foreignKeys: own.length, withoutIndex: gaps.length, notListed: gaps.length - listed.length },
      findings,
      good: own.length > 0 ? [`Each of the ${countText(own.length, "foreign key")} has an index.`] : [],
    });
  },
};

function gapsOf(own: readonly ForeignKey[], cover: KeyCover, tables: Tables): Gap[] {
  const gaps = new Map<string, Gap>();
  for (const key of own) {
    const table = tables.byOid.get(key.tableOid);
    // NOT ENFORCED looks nothing up.
    if (table === undefined || !key.isEnforced || cover.isCovered(key)) continue;
    const same = JSON.stringify([key.tableOid, [...key.numbers].sort((a, b) => a - b)]);
    const deletes = tables.byOid.get(key.referencedOid)?.deleted ?? 0;
    const known = gaps.get(same);
    if (known === undefined) {
      gaps.set(same, { keys: [key], key, table, narrowing: cover.narrowing(key), parentDeletes: deletes });
    } else {
      known.keys.push(key);
      known.parentDeletes += deletes;
    }
  }
  return [...gaps.values()];
}

function severityOf({ table, key, narrowing, parentDeletes }: Gap): Severity {
  if (narrowing !== undefined || table.rows < mediumRows) return "low";
  const isFelt = parentDeletes > 0 || !"ar".includes(key.onDelete);
  return !isFelt ? "low" : table.rows >= largeRows ? "high" : "medium";
}

const actions: Record<string, string> = {
  a: "no action",
  r: "restrict",
  c: "cascade",
  n: "set null",
  d: "set default",
};

/** The look-up that a DELETE of a referenced row makes (`RI_FKey_noaction_del` and others in `ri_triggers.c`). */
function lookup({ schema, table, columns }: ForeignKey, kind: TableEntry["kind"]): string {
  const matches = columns.map((column, at) => `x.${identifier(column)} = $${at + 1}`).join(" and ");
  return `select 1 from ${kind === "p" ? "" : "only "}${qualified(schema, table)} x where ${matches}`;
}

async function planOf(
  context: ReviewContext,
  { key, table }: Gap,
): Promise<{ [key: string]: Json } | undefined> {
  if (table.rows < smallRows) return undefined;
  const statement = lookup(key, table.kind);
  try {
    const plan = await explainGeneric(context.session, statement, key.columns.length);
    const scans = nodesOf(plan).filter((node) => node["Node Type"].endsWith("Scan"));
    return {
      lookup: statement,
      plan: [...new Set(scans.map((node) => node["Node Type"]))].join(", "),
      planCost: Math.round(plan["Total Cost"]),
    };
  } catch (error) {
    if (error instanceof PgkeepError && error.code !== "unreachable" && !context.signal.aborted) {
      return { lookup: statement, planNotShown: errorMessage(error) };
    }
    throw error;
  }
}

function finding(
  gap: Gap,
  plan: { [key: string]: Json } | undefined,
  names: FreeNames,
  tables: Tables,
): ReviewFinding {
  const { key, keys, table, narrowing, parentDeletes } = gap;
  const child = qualified(key.schema, key.table);
  const parents = [...new Set(keys.map((one) => qualified(one.referencedSchema, one.referencedTable)))];
  const columns = key.columns.map(identifier).join(", ");
  const creation = creationOf(table, key.columns, `(${columns})`, names, tables);
  const bytes = table.pages * tables.blockBytes;
  const isSmall = table.rows < smallRows;
  const size = `${Math.round(table.rows)} rows, ${bytesText(bytes)}`;
  return {
    check: "foreign-keys-without-index",
    key: `foreign-keys-without-index/${key.schema}.${key.table}(${key.columns.join(",")})`,
    severity: severityOf(gap),
    confidence: narrowing === undefined ? "certain" : "suspected",
    object: {
      schema: key.schema,
      table: key.table,
      ...(key.columns.length === 1 ? { column: key.columns[0] as string } : {}),
      name: key.name,
    },
    title: `no index for the foreign key (${columns}) of ${child} to ${parents.join(", ")}`,
    evidence: {
      constraints: keys.map((one) => one.name),
      columns: key.columns,
      rows: Math.round(table.rows),
      size: bytesText(bytes),
      onDelete: actions[key.onDelete] ?? key.onDelete,
      deletesOfReferencedRows: parentDeletes,
      ...(narrowing === undefined ? {} : { partlyServedBy: narrowing.index }),
      ...plan,
    },
    impact: `Each DELETE from ${parents.join(", ")}, and each UPDATE of its key, looks for referencing rows by reading all of ${child} (${size}), and so do joins along the key.${isSmall ? " The table is small now." : ""}${narrowing === undefined ? "" : ` The index ${identifier(narrowing.index)} narrows that by a part of the key.`}`,
    blastRadius: `deletes and key updates of ${parents.join(", ")}, which hold their locks meanwhile; joins with ${child}`,
    rootCause:
      "PostgreSQL makes an index for the referenced key, which must be unique, but none for the referencing columns.",
    prevention: "Create the index in the migration that adds the foreign key; run this review in CI.",
    effort: "minutes",
    remediation: { sql: creation.sql, lock: creation.lock, rollback: creation.rollback },
    example: {
      before: `FOREIGN KEY (${columns}) REFERENCES ${parents[0] ?? ""}`,
      after: creation.sql,
    },
    fix: {
      ...creation.fix,
      proof: [
        plan?.plan === undefined
          ? `no valid index begins with ${columns} (${size})`
          : `now: ${String(plan.plan)} at cost ${String(plan.planCost)} for ${String(plan.lookup)} (${size})`,
      ],
    },
  };
}
