import { countText, durationText } from "../../words.ts";
import { readForeignKeys } from "../constraints/foreign-keys.ts";
import { round } from "../outcome.ts";
import type { ReviewFinding } from "../review-check.ts";
import {
  aboutStatement,
  brief,
  inTheApplication,
  type Parsed,
  type Seen,
  statementEvidence,
  workloadCheck,
} from "./common.ts";
import type { Counts } from "./looks.ts";
import { conditionsOf, namedTables } from "./resolve.ts";
import type { Column, Table } from "./tables.ts";

/** Calls of the look-up between the two looks: fewer may be anybody's. */
const fewestCalls = 50;
/** Rows of each call of the list: a page of them. */
const fewestRowsPerList = 5;
/** Rows of a look-up: one by its key, or a row's few children. */
const mostRowsPerLookup = 20;
/** How close the calls of the look-up come to the rows of the list. */
const tolerance = 0.15;

type Busy = Parsed & { recent: Counts };

/** Look-ups that are called once for each row of a list: one query for the list, and N for its rows. */
export const nPlusOne = workloadCheck({
  name: "n-plus-one",
  title: "Which look-ups are called once for each row of a list?",
  async look(seen) {
    const { workload } = seen;
    const between = workload.between;
    if (between === undefined) {
      return {
        obstacle:
          "it takes two looks at the statements: give --observe 60s while the application is in use, or let collect-history run each day",
      };
    }
    const keys = await readForeignKeys(seen.context);
    const related = new Set(
      keys.flatMap((key) => [`${key.tableOid} ${key.referencedOid}`, `${key.referencedOid} ${key.tableOid}`]),
    );
    const busy = seen.statements.filter(
      (statement): statement is Busy =>
        (statement.recent?.calls ?? 0) > 0 && statement.facts.kind === "select",
    );
    const lookups = busy.filter(
      (one) => one.recent.calls >= fewestCalls && lookupOf(one, seen) !== undefined,
    );
    const lists = busy.filter(({ recent }) => recent.rows / recent.calls >= fewestRowsPerList);
    const findings = lookups.flatMap((child) => {
      const lookup = lookupOf(child, seen);
      if (lookup === undefined) return [];
      const parents = lists
        .filter((parent) => parent !== child && tracks(child.recent, parent.recent))
        .flatMap((parent) => {
          const list = namedTables(parent.facts, seen.tables).find((table) =>
            isRelated(lookup, table, related),
          );
          return list === undefined ? [] : [{ parent, list }];
        })
        .sort((a, b) => distance(child.recent, a.parent.recent) - distance(child.recent, b.parent.recent));
      const [best] = parents;
      return best === undefined ? [] : [finding(seen, child, lookup, best)];
    });
    return {
      findings,
      facts: { seconds: round(between.seconds), twoLooksBy: between.by, lookups: lookups.length },
      ...(between.by === "observed" && busy.length === 0
        ? {
            obstacle: `the application ran nothing in the ${durationText(between.seconds)} that were observed`,
          }
        : {}),
      good: ["No look-up is called as often as some list has rows."],
    };
  },
});

interface Lookup {
  table: Table;
  column: Column;
}

/** One table by one value of one column, and few rows. */
function lookupOf({ facts, recent }: Busy, { tables }: Seen): Lookup | undefined {
  if (facts.scopes.length !== 1 || facts.scopes[0]?.relations.length !== 1) return undefined;
  if (recent.rows / recent.calls > mostRowsPerLookup) return undefined;
  const equal = conditionsOf(facts, tables).filter(
    ({ predicate }) =>
      predicate.operator === "=" && predicate.other === "value" && predicate.wrap === undefined,
  );
  const [only] = equal;
  return only === undefined ? undefined : { table: only.table, column: only.column };
}

function distance(child: Counts, parent: Counts): number {
  return Math.abs(child.calls - parent.rows) / Math.max(1, parent.rows);
}

/** As many calls as the list had rows, and several for each list. */
function tracks(child: Counts, parent: Counts): boolean {
  return distance(child, parent) <= tolerance && child.calls >= parent.calls * fewestRowsPerList;
}

/** A foreign key ties them, or the look-up's column is named after the list's table, or the other way round. */
function isRelated({ table, column }: Lookup, list: Table, keys: ReadonlySet<string>): boolean {
  if (keys.has(`${table.oid} ${list.oid}`)) return true;
  const one = (name: string) => name.toLowerCase().replace(/(?:es|s)$/, "");
  const isNamedAfter = (name: string, of: string) => name.toLowerCase() === `${one(of)}_id`;
  return (
    isNamedAfter(column.name, list.name) ||
    (column.name === "id" && list.columns.some(({ name }) => isNamedAfter(name, table.name)))
  );
}

function finding(
  seen: Seen,
  child: Busy,
  { table, column }: Lookup,
  { parent, list }: { parent: Busy; list: Table },
): ReviewFinding {
  const { workload } = seen;
  const seconds = workload.between?.seconds ?? 0;
  const perList = child.recent.calls / parent.recent.calls;
  const origin = child.origin ?? parent.origin;
  return {
    ...aboutStatement("n-plus-one", child, seen),
    severity: child.recent.execMilliseconds / 1000 / Math.max(1, seconds) >= 0.1 ? "high" : "medium",
    confidence: "suspected",
    object: { schema: table.schema, table: table.name, column: column.name },
    title: `about ${Math.round(perList)} look-ups in ${table.schema}.${table.name} for each list of ${list.schema}.${list.name}: ${brief(child)}`,
    evidence: {
      ...statementEvidence(child, workload),
      list: parent.shown,
      betweenTheLooks: {
        seconds: round(seconds),
        callsOfTheLookup: child.recent.calls,
        rowsOfTheList: parent.recent.rows,
        callsOfTheList: parent.recent.calls,
        rowsPerLookup: round(child.recent.rows / child.recent.calls, 2),
      },
      ...(parent.origin === undefined ? {} : { originOfTheList: parent.origin }),
    },
    impact: `Each list waits for ${countText(Math.round(perList), "more round trip")}: in ${durationText(seconds)}, ${child.recent.calls} look-ups came with ${parent.recent.rows} rows of ${countText(parent.recent.calls, "list")}.`,
    blastRadius: "whoever waits for the list; a connection is held for all the round trips",
    rootCause:
      "The application loads a list, and then, row by row, what belongs to each (an ORM's lazy loading).",
    prevention: "Let tests count the statements of a request; switch lazy loading off or warn of it.",
    effort: "hours",
    ...(origin === undefined ? {} : { origin }),
    remediation: inTheApplication(
      `load it with the list: a join, or one statement for all rows (WHERE ${column.name} = ANY($1)); in ORMs, eager loading`,
    ),
    example: {
      before: `SELECT … WHERE ${column.name} = $1   -- for each row`,
      after: `SELECT … WHERE ${column.name} = ANY($1)   -- once`,
    },
  };
}
