import type { Finding } from "../checks/check.ts";
import { addConstraint } from "../maintenance/references.ts";
import { identifier, literal, qualified } from "../postgres/identifiers.ts";
import { countText } from "../words.ts";
import type { Damage, SequenceBehind, Violations } from "./ask.ts";
import type { ConstraintItem, EnumItem, Item, ReferenceItem } from "./items.ts";

/** Messages of damage that one finding shows. */
const shown = 5;
const longest = 300;

/** Where damage was seen, and whether the primary has it too: null when it was not asked. */
export interface Seen {
  server: string;
  isReplica: boolean;
  alsoOnPrimary: boolean | null;
}

/** The columns, unlike names alone, tell a table of one schema from that of another. */
const nameOf = (schema: string, name: string) => `${schema}.${name}`;

/** A table or an index whose pages are broken. */
export function corruption(item: Item, damage: readonly Damage[], seen: Seen): Finding {
  const isIndex = item.kind === "index";
  const blocks = [...new Set(damage.flatMap(({ block }) => (block === null ? [] : [block])))];
  const onlyThere = seen.isReplica && seen.alsoOnPrimary === false;
  const schema = isIndex ? item.stored.schema : item.schema;
  return {
    check: isIndex ? "corrupt-index" : "corrupt-table",
    key: isIndex
      ? `corrupt-index/${nameOf(schema, item.stored.name)}`
      : `corrupt-table/${nameOf(item.schema, item.table)}${item.kind === "table" && item.stored.kind === "t" ? "/toast" : ""}`,
    severity: isIndex && onlyThere ? "high" : "critical",
    confidence: "certain",
    object: { schema, table: item.table, ...(isIndex ? { index: item.stored.name } : {}) },
    title: `${item.label} is damaged${onlyThere ? ` on ${seen.server}` : ""}`,
    evidence: {
      server: seen.server,
      ...(seen.alsoOnPrimary === null ? {} : { alsoOnPrimary: seen.alsoOnPrimary }),
      problems: damage.length,
      ...(blocks.length === 0 ? {} : { blocks: blocks.slice(0, 20) }),
      messages: damage.slice(0, shown).map(({ message, block, item: line }) => {
        const where = block === null ? "" : `block ${block}${line === null ? "" : ` item ${line}`}: `;
        return `${where}${message}`.slice(0, longest);
      }),
    },
    impact: isIndex
      ? "Queries through the index miss rows, find wrong ones or fail; a unique index may let duplicates in."
      : "Reading these rows fails or gives something else than was written, and each backup since has the damage.",
    blastRadius: onlyThere
      ? `reads of ${nameOf(item.schema, item.table)} on ${seen.server}`
      : `everything that reads ${nameOf(item.schema, item.table)}; storage or memory that did this may do it again`,
    remediation: onlyThere ? rebuildReplica(seen.server) : isIndex ? rebuildIndex(item) : restoreTable(item),
  };
}

function rebuildReplica(server: string): Finding["remediation"] {
  return {
    sql: `-- The primary is sound: take ${JSON.stringify(server)} out of service and make the replica anew.`,
    lock: "none",
    rollback: "none needed",
  };
}

function rebuildIndex(item: Item & { kind: "index" }): Finding["remediation"] {
  const { schema, name, exclusion, unique } = item.stored;
  const concurrently = !exclusion && schema !== "pg_catalog";
  const duplicates = unique ? "-- Fails while the table has duplicates: remove them first.\n" : "";
  return {
    sql: `${duplicates}REINDEX INDEX ${concurrently ? "CONCURRENTLY " : ""}${qualified(schema, name)};`,
    lock: concurrently
      ? "SHARE UPDATE EXCLUSIVE on the table"
      : "ACCESS EXCLUSIVE on the index, SHARE on the table",
    rollback: "none needed",
  };
}

/** A name must not end the comment that it stands in. */
function inComment(text: string): string {
  return text.replace(/\p{Cc}+/gu, " ");
}

function restoreTable(item: Item): Finding["remediation"] {
  return {
    sql: `-- Copy the data directory or take a snapshot first. Then bring the table back as it was before, beside the original:\n-- pgkeep restore --backup ID --table ${inComment(`'${qualified(item.schema, item.table).replaceAll("'", "'\\''")}'`)}`,
    lock: "none until the tables are swapped",
    rollback: "drop the copy",
  };
}

const rowsText = (count: number) => countText(count, "row");

/** Rows that a constraint does not allow. */
export function violated(item: ConstraintItem, { violations, keys, definition }: Violations): Finding {
  const table = qualified(item.schema, item.table);
  const isForeignKey = item.type === "f";
  const check = isForeignKey ? "orphaned-rows" : "constraint-violations";
  const again = addConstraint(table, identifier(item.name), definition ?? "…", item.takesNotValid);
  const what = isForeignKey ? `no row in ${item.referenced}` : `values that it does not allow`;
  return {
    check,
    key: `${check}/${nameOf(item.schema, item.table)}.${item.name}`,
    severity: item.validated ? "high" : "medium",
    confidence: "certain",
    object: { schema: item.schema, table: item.table, name: item.name },
    title: `${rowsText(violations)} of ${table} ${violations === 1 ? "violates" : "violate"} ${identifier(item.name)}`,
    evidence: {
      violations,
      ofAboutRows: item.rows,
      validated: item.validated,
      constraint: definition?.slice(0, longest) ?? null,
      keys,
    },
    impact: item.validated
      ? `The server takes the constraint for true and plans by it, but these rows have ${what}: they came in while triggers were off, or the other row was lost.`
      : `These rows have ${what}. The constraint is NOT VALID, so only new rows are held to it, and an update of these fails.`,
    blastRadius: `rows of ${nameOf(item.schema, item.table)}, joins and reports on them`,
    remediation: {
      sql: item.validated
        ? `-- Correct or remove the rows (keys in the evidence), then have it proved again:\nALTER TABLE ${table} DROP CONSTRAINT ${identifier(item.name)};\n${again.statements.join("\n")}`
        : `-- Correct or remove the rows (keys in the evidence), then:\nALTER TABLE ${table} VALIDATE CONSTRAINT ${identifier(item.name)};`,
      lock: item.validated
        ? `ACCESS EXCLUSIVE for a moment, then ${again.lock}`
        : `SHARE UPDATE EXCLUSIVE${isForeignKey ? `, ROW SHARE on ${item.referenced}` : ""}`,
      rollback: "none needed",
    },
  };
}

/** Of the rows that refer, more than this share has to fit, or the column means something else. */
const referenceShare = 0.5;

/** Rows of a column that looks like a foreign key; undefined when it does not after all. */
export function suspectedOrphans(item: ReferenceItem, seen: Violations): Finding | undefined {
  const referring = seen.referring ?? 0;
  if (seen.violations === 0 || seen.violations > referring * (1 - referenceShare)) return undefined;
  const table = qualified(item.schema, item.table);
  const parent = qualified(item.parentSchema, item.parentTable);
  const name = `${item.table}_${item.column}_fkey`;
  const constraint = identifier(Buffer.byteLength(name) <= 63 ? name : "pgkeep_suspected_fkey");
  const { statements, lock } = addConstraint(
    table,
    constraint,
    `FOREIGN KEY (${identifier(item.column)}) REFERENCES ${parent} (${identifier(item.parentColumn)})`,
    item.takesNotValid,
  );
  return {
    check: "suspected-orphans",
    key: `suspected-orphans/${nameOf(item.schema, item.table)}.${item.column}`,
    severity: "low",
    confidence: "suspected",
    object: { schema: item.schema, table: item.table, column: item.column },
    title: `${rowsText(seen.violations)} of ${table} may refer to rows that ${parent} does not have`,
    evidence: {
      violations: seen.violations,
      ofRowsWithValue: referring,
      recognisedBy: `the column's name and type are those of the primary key ${item.parentColumn} of ${nameOf(item.parentSchema, item.parentTable)}; no foreign key`,
      keys: seen.keys,
    },
    impact: "If the column is a reference, joins lose these rows, and nothing keeps more of them away.",
    blastRadius: `rows of ${nameOf(item.schema, item.table)}`,
    remediation: {
      sql: `-- If it is a reference: correct or remove the rows, then\n${statements.join("\n")}`,
      lock,
      rollback: `ALTER TABLE ${table} DROP CONSTRAINT ${constraint};`,
    },
  };
}

/** A few rows of at least this many are outliers; more, and the column has values of its own. */
const enumRows = 20;
const enumShare = 0.05;

/** Values beside those of an enum of the same name; undefined when the column only shares its name. */
export function outsideEnum(item: EnumItem, seen: Violations): Finding | undefined {
  const rows = seen.referring ?? 0;
  if (seen.violations === 0 || rows < enumRows || seen.violations > rows * enumShare) return undefined;
  const table = qualified(item.schema, item.table);
  return {
    check: "values-outside-set",
    key: `values-outside-set/${nameOf(item.schema, item.table)}.${item.column}`,
    severity: "low",
    confidence: "suspected",
    object: { schema: item.schema, table: item.table, column: item.column },
    title: `${rowsText(seen.violations)} of ${table} ${seen.violations === 1 ? "has a value" : "have values"} that ${item.enumName} does not have`,
    evidence: {
      violations: seen.violations,
      ofRowsWithValue: rows,
      recognisedBy: `${item.sibling} has a column of the same name with the type ${item.enumName}, and nearly all values here are its labels`,
      keys: seen.keys,
    },
    impact: "Code that knows the labels only fails on these rows, or leaves them out.",
    blastRadius: `rows of ${nameOf(item.schema, item.table)}`,
    remediation: {
      sql: `-- If the column should hold labels of ${inComment(item.enumName)} only: correct the rows, then give it that type or a CHECK (NOT VALID, then VALIDATE).`,
      lock: "none to look; SHARE UPDATE EXCLUSIVE to validate",
      rollback: "drop the CHECK",
    },
  };
}

/** A sequence that will hand out numbers that its column has. */
export function sequenceBehind(schema: string, sequence: string, behind: SequenceBehind): Finding {
  const name = qualified(schema, sequence);
  const table = qualified(behind.tableSchema, behind.table);
  const column = identifier(behind.column);
  const relation = literal(name).trim();
  return {
    check: "sequence-behind",
    key: `sequence-behind/${nameOf(schema, sequence)}/${nameOf(behind.tableSchema, behind.table)}.${behind.column}`,
    severity: "high",
    confidence: "certain",
    object: {
      schema: behind.tableSchema,
      table: behind.table,
      column: behind.column,
      name: nameOf(schema, sequence),
    },
    title: `sequence ${name} is behind ${column} of ${table}`,
    evidence: { nextValue: behind.nextValue, columnHas: behind.extreme },
    impact:
      "Inserts that draw from it get numbers that are taken: they fail, or make duplicates where nothing is unique.",
    blastRadius: `inserts into ${nameOf(behind.tableSchema, behind.table)}`,
    remediation: {
      sql: `SELECT setval(${relation}, (SELECT ${behind.ascending ? "max" : "min"}(${column}) FROM ${table}));`,
      lock: "ROW EXCLUSIVE on the sequence",
      rollback: `SELECT setval(${relation}, ${behind.lastValue}, ${behind.isCalled});`,
    },
  };
}
