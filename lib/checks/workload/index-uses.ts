import type { IndexEntry } from "../indexes/catalogue.ts";
import type { Parsed, Seen } from "./common.ts";
import type { Relation, Scope } from "./parse.ts";
import { type Condition, conditionsOf, isOfApplication, resolveColumn } from "./resolve.ts";
import type { Statement } from "./statements.ts";
import type { Table, Tables } from "./tables.ts";

/** A condition that pg_stat_statements leaves to be seen, as every other constant is a parameter to it. */
export interface VisibleCondition {
  column: number;
  operator: (typeof visibleOperators)[number];
}

/** One place where a statement reads a table and says something of an index's key columns. */
export interface Use {
  statement: Parsed;
  table: Table;
  conditions: Condition[];
  /** What is true of every row that is read there, by name. */
  visible: ReadonlyMap<string, VisibleCondition>;
  /** It looks for values of the first key column, or wants rows in its order. */
  searches: boolean;
}

export interface Uses {
  uses: Use[];
  /** They say something of later key columns alone, which the index serves badly: a plan tells whether it does. */
  doubtful: Use[];
  /** Statements that may use the index in a way that their text does not tell. */
  unclear: Statement[];
}

/** Operators that no null meets, so that `column = $1` implies `column IS NOT NULL` (`predtest.c`). */
const strict = new Set(["=", "<", ">", "<=", ">=", "in", "any", "between", "~~", "~~*", "is not null"]);
const visibleOperators = ["is null", "is not null", "is true", "is false"] as const;
/** What the parser's facts do not tell apart. */
const unclearWords = /\b(?:merge|natural)\b/i;
const outerJoin = /\b(?:left|right|full)\s+(?:outer\s+)?join\b/i;
/** Commands that read by an index although they are no queries; not EXPLAIN, which reads nothing. */
const reading =
  /^\s*(?:declare|create\s+(?:\w+\s+)*(?:table|view)|copy\s*\(|prepare\s+(?!pgkeep_)|refresh|do)\b/i;

const betweenWords = /[^\p{L}\p{N}_$]+/u;

export const nameOfCondition = ({ column, operator }: VisibleCondition): string => `${column} ${operator}`;

/**
 * Who uses which index, as far as texts tell: a statement that names the table and, from its first FROM or WHERE on, a
 * key column. The question is what an index may lose, so all statements count, those inside functions too.
 */
export class IndexUses {
  private readonly seen: Seen;
  private readonly byTable = new Map<string, Parsed[]>();
  /** No tree of them: their text must do. */
  private readonly unread: Statement[] = [];
  /** All words in them: of tens of thousands of tables nearly none is named there. */
  private readonly unreadWords = new Set<string>();

  constructor(seen: Seen) {
    this.seen = seen;
    for (const statement of seen.workload.statements) {
      const { facts } = statement;
      if (facts === undefined || facts.kind === "other") {
        if (facts !== undefined && !reading.test(textOf(statement))) continue;
        this.unread.push(statement);
        for (const word of textOf(statement).toLowerCase().split(betweenWords)) this.unreadWords.add(word);
        continue;
      }
      const names = new Set(
        facts.scopes.flatMap(({ relations }) => relations.flatMap(({ table }) => table?.name ?? [])),
      );
      if (facts.kind === "merge" && facts.target !== undefined) names.add(facts.target.name);
      for (const name of names) {
        const known = this.byTable.get(name);
        if (known === undefined) this.byTable.set(name, [statement as Parsed]);
        else known.push(statement as Parsed);
      }
    }
  }

  of(index: IndexEntry, columns: readonly string[]): Uses {
    const table = this.seen.tables.byOid(index.tableOid);
    const uses: Use[] = [];
    const doubtful: Use[] = [];
    const leading = anyOf(columns.slice(0, 1));
    const words = anyOf(columns);
    const unclear = this.naming(index.table).filter(({ text }) => text === undefined || words.test(text));
    for (const statement of this.byTable.get(index.table) ?? []) {
      if (!words.test(relevant(statement))) continue;
      if (table === undefined || unclearWords.test(textOf(statement))) {
        unclear.push(statement);
        continue;
      }
      const kind = leading.test(relevant(statement)) ? uses : doubtful;
      for (const reading of readingsOf(statement, table, this.seen.tables)) {
        kind.push(this.useOf(reading, table, index));
      }
    }
    return { uses, doubtful, unclear };
  }

  /** Statements whose text has this name, where nothing more is known of them. */
  naming(name: string): Statement[] {
    const plain = name.toLowerCase();
    if (!betweenWords.test(plain) && !this.unreadWords.has(plain)) return [];
    const word = anyOf([name]);
    return this.unread.filter((statement) => word.test(textOf(statement)));
  }

  /** Whether any statement reads the view, parent table or materialised view of that name. */
  isNamed(name: string): boolean {
    return this.byTable.has(name) || this.naming(name).length > 0;
  }

  private useOf(reading: Reading, table: Table, index: IndexEntry): Use {
    const { statement, conditions, scope, alias } = reading;
    const leading = index.keys[0]?.column ?? 0;
    const visible = new Map(reading.visible);
    if (
      conditions.some(({ column, predicate }) => column.number === leading && strict.has(predicate.operator))
    ) {
      const implied: VisibleCondition = { column: leading, operator: "is not null" };
      visible.set(nameOfCondition(implied), implied);
    }
    const orders = scope.orderBy.some(({ column }) => {
      const resolved = resolveColumn(statement.facts, scope, this.seen.tables, column);
      return resolved?.table === table && resolved.alias === alias && resolved.column.number === leading;
    });
    const searches = orders || conditions.some(({ column }) => column.number === leading);
    return { statement, table, conditions, visible, searches: searches && isOfApplication(statement) };
  }
}

/** One place where a statement reads a table. */
interface Reading {
  statement: Parsed;
  scope: Scope;
  alias: string;
  conditions: Condition[];
  visible: ReadonlyMap<string, VisibleCondition>;
}

/** Everywhere that a statement reads the table, and what is true of the rows that it reads there. */
export function readingsOf(statement: Parsed, table: Table, tables: Tables): Reading[] {
  const hasOuterJoin = outerJoin.test(textOf(statement));
  return statement.facts.scopes.flatMap((scope) =>
    scope.relations
      .filter((relation) => isNameOf(relation, table))
      .map(({ alias }): Reading => {
        const conditions = conditionsOf(statement.facts, tables).filter(
          (one) =>
            one.table === table &&
            one.alias === alias &&
            one.scope === scope &&
            one.predicate.wrap === undefined,
        );
        const visible = new Map<string, VisibleCondition>();
        for (const { column, predicate } of conditions) {
          const operator = visibleOperators.find((name) => name === predicate.operator);
          // `t.id IS NULL` above an outer join is about the join: rows that are not null are read all the same.
          if (operator === undefined || predicate.outer || (operator === "is null" && hasOuterJoin)) continue;
          const condition = { column: column.number, operator };
          visible.set(nameOfCondition(condition), condition);
        }
        return { statement, scope, alias, conditions, visible };
      }),
  );
}

function isNameOf({ table }: Relation, { schema, name }: Table): boolean {
  return table?.name === name && (table.schema === undefined || table.schema === schema);
}

function textOf({ text, shown }: Statement): string {
  return text ?? shown;
}

/** Where columns stand that rows are looked for by; with aggregates and DISTINCT, what is selected matters too. */
function relevant({ facts, text, shown }: Parsed): string {
  const whole = text ?? shown;
  if (facts.scopes.some(({ aggregated, distinct }) => aggregated || distinct)) return whole;
  const start = whole.search(/\b(?:from|where|using)\b/i);
  return start === -1 ? whole : whole.slice(start);
}

/** Any of these names as a word of its own, quoted or not, whatever its case. */
function anyOf(names: readonly string[]): RegExp {
  const escaped = names.map((name) => name.replaceAll('"', '""').replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"));
  return new RegExp(`(?<![\\p{L}\\p{N}_$])(?:${escaped.join("|")})(?![\\p{L}\\p{N}_$])`, "iu");
}
