import { identifier, qualified } from "../../postgres/identifiers.ts";
import { bytesText } from "../../words.ts";
import { whyStatisticsAreMissing } from "../constraints/hidden-statistics.ts";
import { concludeReview, type ReviewCheck, type ReviewFinding } from "../review-check.ts";
import { type IndexEntry, isIndispensable, readIndexCatalogue } from "./catalogue.ts";
import { creationOf, FreeNames } from "./creations.ts";
import { readDroppings } from "./definitions.ts";
import { judgedAlready } from "./redundant-indexes.ts";
import { readTables, type TableEntry, type Tables } from "./tables.ts";
import { sizeSeverity } from "./weigh.ts";

export interface LowValueLimits {
  leastRows: number;
  leastBytes: number;
}

/** An index is rarely read for values that more rows than this have (`random_page_cost` and correlation decide). */
const commonShare = 0.9;

interface Statistics {
  schema: string;
  table: string;
  number: number;
  column: string;
  type: string;
  nullFraction: number;
  distinct: number;
  /** Share of the rows with false, and with true; null unless boolean. */
  falseShare: number | null;
  trueShare: number | null;
}

interface Opportunity {
  index: IndexEntry;
  table: TableEntry;
  statistics: Statistics;
  /** The rows that are worth finding, as SQL. */
  predicate: string;
  /** Their share of all rows. */
  share: number;
}

/**
 * B-trees of one column most of whose entries nobody finds by index: of a boolean of which nearly all rows have one
 * value, of a moment that is mostly null (`deleted_at`). An index of the rare rows alone does the same at a fraction
 * of the size, and other writes leave it alone.
 */
export function lowValueIndexesBeyond(limits: LowValueLimits): ReviewCheck {
  return {
    name: "low-value-indexes",
    title: "Are there indexes of which only a few rows are worth finding?",
    area: "indexes",
    async run(context) {
      const catalogue = await readIndexCatalogue(context);
      const tables = await readTables(context);
      const judged = await judgedAlready(context);
      const candidates = catalogue.indexes.filter((index) => {
        const table = tables.byOid.get(index.tableOid);
        return (
          table?.kind === "r" &&
          table.rows >= limits.leastRows &&
          index.pages * tables.blockBytes >= limits.leastBytes &&
          !judged.has(index.oid) &&
          isPlain(index)
        );
      });
      const statistics =
        candidates.length === 0
          ? []
          : await context.session.query<Statistics>(statisticsQuery, [
              candidates.map((one) => one.schema),
              candidates.map((one) => one.table),
              candidates.map((one) => one.keys[0]?.column ?? 0),
            ]);
      const found = candidates.flatMap((index) => opportunity(index, statistics, tables));
      const droppings = await readDroppings(
        context,
        catalogue,
        found.map(({ index }) => index),
      );
      const names = new FreeNames(catalogue, tables);
      return concludeReview({
        facts: { indexesOfOneColumn: candidates.length },
        findings: found.flatMap((one) => {
          const dropping = droppings.get(one.index.oid);
          return dropping === undefined ? [] : [finding(one, dropping, names, tables)];
        }),
        obstacle: await whyStatisticsAreMissing(context, limits.leastRows),
      });
    },
  };
}

export const lowValueIndexes = lowValueIndexesBeyond({ leastRows: 100_000, leastBytes: 2 ** 20 });

function isPlain(index: IndexEntry): boolean {
  return (
    index.isUsable &&
    index.method === "btree" &&
    !index.isUnique &&
    !isIndispensable(index) &&
    index.parent === null &&
    index.predicate === null &&
    index.keys.length === 1 &&
    index.included.length === 0 &&
    index.keys[0]?.expression === null
  );
}

const statisticsQuery = `
  select wanted.schema, wanted.relation as table, wanted.number, a.attname::text as column,
         format_type(a.atttypid, a.atttypmod) as type, s.null_frac::float8 as "nullFraction", s.n_distinct::float8 as distinct,
         case when a.atttypid = 'bool'::regtype then coalesce(
           s.most_common_freqs[array_position(s.most_common_vals::text::text[], 'f')], 0)::float8 end as "falseShare",
         case when a.atttypid = 'bool'::regtype then coalesce(
           s.most_common_freqs[array_position(s.most_common_vals::text::text[], 't')], 0)::float8 end as "trueShare"
    from unnest($1::text[], $2::text[], $3::int[]) as wanted(schema, relation, number)
    join pg_namespace n on n.nspname = wanted.schema
    join pg_class c on c.relnamespace = n.oid and c.relname = wanted.relation
    join pg_attribute a on a.attrelid = c.oid and a.attnum = wanted.number
    join pg_stats s on s.schemaname = n.nspname and s.tablename = c.relname and s.attname = a.attname and not s.inherited`;

function opportunity(index: IndexEntry, all: readonly Statistics[], tables: Tables): Opportunity[] {
  const table = tables.byOid.get(index.tableOid);
  const statistics = all.find(
    (one) => one.schema === index.schema && one.table === index.table && one.number === index.keys[0]?.column,
  );
  if (table === undefined || statistics === undefined) return [];
  const column = identifier(statistics.column);
  const { falseShare, trueShare, nullFraction } = statistics;
  if (falseShare !== null && trueShare !== null) {
    if (falseShare >= commonShare) return [{ index, table, statistics, predicate: column, share: trueShare }];
    if (trueShare >= commonShare) {
      return [{ index, table, statistics, predicate: `NOT ${column}`, share: falseShare }];
    }
  }
  return nullFraction >= commonShare && nullFraction < 1
    ? [{ index, table, statistics, predicate: `${column} IS NOT NULL`, share: 1 - nullFraction }]
    : [];
}

function finding(
  { index, table, statistics, predicate, share }: Opportunity,
  dropping: { lock: string; fix?: { up: string[]; down: string[] } },
  names: FreeNames,
  tables: Tables,
): ReviewFinding {
  const { schema } = index;
  const name = qualified(schema, index.index);
  const column = identifier(statistics.column);
  const creation = creationOf(
    table,
    [statistics.column, "part"],
    `(${column}) WHERE ${predicate}`,
    names,
    tables,
  );
  const bytes = index.pages * tables.blockBytes;
  const percent = Math.round((1 - share) * 1000) / 10;
  const up = [...creation.fix.up, ...(dropping.fix?.up ?? [])];
  const down = [...(dropping.fix?.down ?? []), ...creation.fix.down];
  return {
    check: "low-value-indexes",
    key: `low-value-indexes/${schema}.${index.index}`,
    severity: sizeSeverity(bytes),
    confidence: "suspected",
    object: { schema, table: index.table, index: index.index, column: statistics.column },
    title: `${percent} % of the entries of index ${name} are of rows that no query finds by it`,
    evidence: {
      size: bytesText(bytes),
      rareRows: predicate,
      sharePercent: Math.round(share * 1000) / 10,
      rows: Math.round(table.rows),
      scans: index.scans,
    },
    impact: `An index of the rare rows alone takes about ${bytesText(bytes * share)}, and writes of other rows leave it alone.`,
    blastRadius: `writes to ${qualified(schema, index.table)}; queries for the common value lose the index, which they do not profit from`,
    rootCause: "The whole column was indexed to find a few of its rows.",
    prevention: "Index what queries look for: add the query's condition as WHERE of the index.",
    effort: "minutes",
    remediation: {
      sql: up.join("\n"),
      lock: creation.lock,
      rollback: down.join("\n"),
    },
    example: { before: `CREATE INDEX … (${column})`, after: `CREATE INDEX … (${column}) WHERE ${predicate}` },
    ...(dropping.fix === undefined
      ? {}
      : {
          fix: {
            up,
            down,
            proof: [
              `by the statistics ${predicate} holds for ${Math.round(share * 1000) / 10} % of the rows`,
            ],
          },
        }),
  };
}
