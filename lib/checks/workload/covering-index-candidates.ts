import { identifier, qualified } from "../../postgres/identifiers.ts";
import { bytesText, countText } from "../../words.ts";
import type { Severity } from "../check.ts";
import { isIndispensable } from "../indexes/catalogue.ts";
import { creationOf, type FreeNames } from "../indexes/creations.ts";
import { type Dropping, readDroppings } from "../indexes/definitions.ts";
import { judgedAlready } from "../indexes/redundant-indexes.ts";
import { writesOf } from "../indexes/weigh.ts";
import { round } from "../outcome.ts";
import type { ReviewFinding } from "../review-check.ts";
import {
  blocksPerCall,
  brief,
  freeNames,
  type Parsed,
  type Seen,
  sharePercent,
  statementEvidence,
  tableText,
  workloadCheck,
} from "./common.ts";
import { coveringBody, merged, type Proposal, type Proved, prove } from "./covering-proofs.ts";
import { readerOf, readStorage, type Search, searchOf } from "./covering-searches.ts";
import { planText } from "./explain.ts";
import { isCostly } from "./missing-indexes.ts";
import type { Column, Table } from "./tables.ts";

/** Of pages that are not all-visible an index-only scan visits the heap as before (PostgreSQL, "Index-Only Scans"). */
const smallestVisibleShare = 0.8;
/** An update of an included column can be HOT no more, and is entered into every index of the table. */
const mostUpdatesPerCall = 0.1;
/** Of all statements' time: what halves it is felt. */
const largeSharePercent = 20;
/** Statements that are looked at, the costliest; and milliseconds spent on their plans. */
const mostStatements = 60;
const mostMilliseconds = 4_000;
/** Writes of a shorter time may be those that filled the table. */
const dayOfSeconds = 86_400;
/** A column that is so often null may better have an index of its few values only. */
const mostlyNullShare = 0.8;
const texts = /^(?:text|character varying)$/;
const visibleConditions = new Set(["is null", "is not null", "is true", "is false"]);

/**
 * Searches by an index that visit the table for a few narrow columns more: with these in INCLUDE the index alone
 * answers them. Proved by hypopg where it is installed; else by the plan, the blocks and the visibility map as they are.
 */
export const coveringIndexCandidates = workloadCheck({
  name: "covering-index-candidates",
  title: "Which searches by an index could do without visiting the table?",
  async look(seen) {
    const { context } = seen;
    const until = context.budget.left() - mostMilliseconds;
    const readers = seen.statements
      .filter((statement) => isCostly(statement, seen))
      .slice(0, mostStatements)
      .flatMap((statement) => readerOf(statement, seen) ?? []);
    const storage = await readStorage(seen, readers);
    const unreadable = new Set(
      readers
        .filter(({ table }) => !table.readable && table.indexes.some(({ method }) => method === "btree"))
        .map(({ table }) => table),
    );
    const unanalyzed = new Set<Table>();
    let hidden = 0;
    let refused = 0;
    let unplanned = 0;
    const searches: Search[] = [];
    for (const reader of readers) {
      const { table } = reader;
      const stored = storage.get(table.oid);
      if (stored === undefined || !table.readable) continue;
      if (stored.visibleShare < smallestVisibleShare) {
        hidden += 1;
        continue;
      }
      if (context.budget.left() <= Math.max(0, until)) {
        unplanned += 1;
        continue;
      }
      const search = await searchOf(reader, stored, seen);
      if (search === "never analyzed") unanalyzed.add(table);
      else if (search === "not plannable") refused += 1;
      else if (search !== undefined) searches.push(search);
    }
    const droppings = await readDroppings(context, seen.tables.catalogue, [
      ...new Set(searches.map(({ index }) => index)),
    ]);
    const proved: Proved[] = [];
    for (const search of searches) {
      const definition = droppings.get(search.index.oid)?.fix?.down[0];
      if (definition === undefined || context.budget.left() <= Math.max(0, until)) {
        unplanned += 1;
        continue;
      }
      const one = await prove(search, definition, seen);
      if (one !== undefined) proved.push(one);
    }
    const judged = searches.length === 0 ? new Set<number>() : await judgedAlready(context);
    const names = freeNames(seen);
    const findings = merged(proved)
      .filter((proposal) => pays(proposal, seen))
      .flatMap((proposal) => {
        const dropping = droppings.get(proposal.index.oid);
        return dropping === undefined ? [] : (finding(proposal, dropping, judged, seen, names()) ?? []);
      });
    const obstacles = [
      ...(unreadable.size === 0
        ? []
        : [
            `the role ${context.session.user} may not plan searches in ${some(unreadable)}: GRANT pg_read_all_data TO ${identifier(context.session.user)};`,
          ]),
      ...[...unanalyzed]
        .slice(0, 3)
        .map(
          ({ schema, name }) =>
            `how wide its columns are nobody has counted: ANALYZE ${qualified(schema, name)};`,
        ),
      ...(unplanned === 0
        ? []
        : [
            `${countText(unplanned, "search", "searches")} could not be planned, for lack of time or because a table is locked`,
          ]),
    ];
    return {
      findings,
      facts: {
        looked: readers.length,
        searchesByIndex: searches.length,
        ...(refused === 0 ? {} : { notPlannable: refused }),
        ...(hidden === 0 ? {} : { tooFewPagesAllVisible: hidden }),
        proved: context.extensions.has("hypopg")
          ? "with hypopg"
          : "by plans (CREATE EXTENSION hypopg proves more)",
      },
      obstacle: obstacles.length === 0 ? undefined : obstacles.join("; "),
      good: ["No costly search by an index visits the table for a few narrow columns."],
    };
  },
});

function some(tables: ReadonlySet<Table>): string {
  const named = [...tables].slice(0, 3).map(({ schema, name }) => `${schema}.${name}`);
  return `${countText(tables.size, "table")} (${named.join(", ")})`;
}

function callsOf({ statements }: Proposal): number {
  return statements.reduce((sum, { total }) => sum + total.calls, 0);
}

/** Columns that come into an index for the first time: until now their updates could be HOT. */
function newlyIndexed({ table, included }: Proposal): Column[] {
  return included.filter(
    ({ number }) =>
      !table.indexes.some(
        ({ keys, included: others }) =>
          others.includes(number) || keys.some(({ column }) => column === number),
      ),
  );
}

/**
 * Rows in which an UPDATE set columns that come into an index for the first time. Updates that pg_stat_statements does
 * not show, as those of functions and ON CONFLICT, may set them as well.
 */
function updatesOf(proposal: Proposal, { context, workload, statements, tables }: Seen): number {
  const { table } = proposal;
  const names = new Set(newlyIndexed(proposal).map(({ name }) => name));
  if (names.size === 0) return 0;
  const updates = statements.filter(
    ({ facts }) =>
      facts.kind === "update" && facts.target !== undefined && tables.find(facts.target) === table,
  );
  const rows = (of: readonly Parsed[]) => of.reduce((sum, { total }) => sum + total.rows, 0);
  const setting = rows(updates.filter(({ facts }) => facts.assigned.some((column) => names.has(column))));
  const { seconds } = context.window;
  if (seconds === null || seconds < dayOfSeconds || workload.seconds === null) return setting;
  const all = ((table.entry?.updated ?? 0) / seconds) * workload.seconds;
  return Math.round(setting + Math.max(0, all - rows(updates)));
}

/** Whether what is read less is more than what is written more. */
function pays(proposal: Proposal, seen: Seen): boolean {
  const calls = callsOf(proposal);
  if (updatesOf(proposal, seen) > calls * mostUpdatesPerCall) return false;
  const { seconds } = seen.context.window;
  if (seconds === null || seconds < dayOfSeconds || seen.workload.seconds === null) return true;
  const written = (writesOf(proposal.table.entry) / seconds) * seen.workload.seconds;
  return calls * (proposal.blocksNow - proposal.blocksThen) > written;
}

/** Nothing but searches depends on it, and no other check may find that it should be of fewer rows. */
function isReplaceable({ table, index, statements }: Proposal): boolean {
  if (index.isUnique || isIndispensable(index) || index.parent !== null) return false;
  if (index.predicate !== null) return true;
  const leading = table.columns.find(({ number }) => number === index.keys[0]?.column);
  if (leading?.type === "boolean" || (leading?.nullFraction ?? 0) >= mostlyNullShare) return false;
  return !statements.some(({ facts }) =>
    facts.scopes.some(({ predicates }) => predicates.some(({ operator }) => visibleConditions.has(operator))),
  );
}

/** One more index is a trade; a wider one in place of another is hardly one. */
function severityOf(share: number, replaces: boolean): Severity {
  return share >= largeSharePercent && replaces ? "medium" : "low";
}

function finding(
  proposal: Proposal,
  dropping: Dropping,
  judged: ReadonlySet<number>,
  seen: Seen,
  names: FreeNames,
): ReviewFinding | undefined {
  const { table, index, stored, included, statements, isProved, bytes, definition } = proposal;
  const { workload, tables } = seen;
  const { entry } = table;
  const body = coveringBody(definition, included);
  if (entry === undefined || body === undefined) return undefined;
  const [costliest] = statements;
  const keys = index.keys.map(
    ({ column }) => table.columns.find(({ number }) => number === column)?.name ?? "expression",
  );
  const columns = included.map(({ name }) => name);
  const creation = creationOf(entry, [...keys, ...columns], body, names, tables.counters);
  const replaces = isReplaceable(proposal) && !judged.has(index.oid);
  const up = [...creation.fix.up, ...(replaces ? (dropping.fix?.up ?? []) : [])];
  const down = [...(replaces ? (dropping.fix?.down ?? []) : []), ...creation.fix.down];
  const share = round(statements.reduce((sum, one) => sum + sharePercent(one, workload), 0));
  const calls = callsOf(proposal);
  const updates = updatesOf(proposal, seen);
  const oldBytes = index.pages * tables.blockBytes;
  const more = Math.max(0, bytes - (replaces ? oldBytes : 0));
  const limitless = included.filter(
    ({ type, number }) => texts.test(type) && stored.unlimited.includes(number),
  );
  const name = qualified(table.schema, table.name);
  const old = qualified(index.schema, index.index);
  const include = `INCLUDE (${columns.map(identifier).join(", ")})`;
  const now = planText(proposal.plan);
  const writes = writesOf(entry);
  const costs = [
    `${bytesText(more)} more on disk and in caches (entries with INCLUDE are not deduplicated)`,
    replaces
      ? `no entry more for a row that is written, as it takes the place of ${old}`
      : `an entry for each row version that is written (${countText(writes, "row version")} since the statistics began)`,
    updates === 0
      ? "an UPDATE of an included column could not be HOT any more; none was seen"
      : `${countText(updates, "update")} of its included columns could not be HOT any more`,
    ...(limitless.length === 0
      ? []
      : [
          `a value of more than about 2,700 bytes in ${limitless.map((one) => identifier(one.name)).join(", ")}, which ${limitless.length === 1 ? "has" : "have"} no length limit, could not be written any more`,
        ]),
  ];
  return {
    check: "covering-index-candidates",
    key: `covering-index-candidates/${index.schema}.${index.index}`,
    severity: severityOf(share, replaces),
    confidence: isProved ? "certain" : "likely",
    object: { schema: table.schema, table: table.name, index: index.index },
    title: `${old} with ${include} would answer ${countText(statements.length, "statement")} that ${statements.length === 1 ? "takes" : "take"} ${share} % of the time without visiting ${name}`,
    evidence: {
      ...statementEvidence(costliest, workload),
      statements: statements.slice(0, 5).map(brief),
      included: columns,
      planNow: now,
      planWithIndex: proposal.after,
      provedBy: isProved ? "hypopg" : "the plan and the blocks as they are",
      blocksPerCallWithIndex: Math.ceil(proposal.blocksThen),
      allVisiblePercent: round(100 * stored.visibleShare),
      indexBytes: oldBytes,
      estimatedBytes: Math.round(bytes),
      updatesOfTheseColumns: updates,
      replacesTheIndex: replaces,
      ...(limitless.length === 0 ? {} : { withoutLengthLimit: limitless.map((one) => one.name) }),
    },
    impact: `${countText(calls, "call")} found their rows by ${old} and then visited ${tableText(table, tables)} for ${columns.map(identifier).join(", ")}: ${round(blocksPerCall(costliest), 1)} blocks for each call of the costliest, of which the index alone needs about ${Math.ceil(proposal.blocksThen)}.`,
    blastRadius: `whoever waits for these statements, and what shares the disk and the caches with them. It costs ${costs.join("; ")}.`,
    rootCause: `The index has what these statements search by, not what they read: each row that it finds is fetched from ${name}.`,
    prevention:
      "Include the one or two narrow columns that a frequent search reads when its index is made; keep the table vacuumed, so that its pages are all-visible.",
    effort: "minutes",
    ...(workload.since === null ? {} : { since: workload.since.toISOString() }),
    ...(costliest.origin === undefined ? {} : { origin: costliest.origin }),
    remediation: {
      sql: up.join("\n"),
      lock: creation.lock,
      rollback: down.join("\n"),
    },
    example: { before: now, after: proposal.after },
    fix: {
      up,
      down,
      proof: [
        `now: ${now}`,
        isProved ? `with the index, by hypopg: ${proposal.after}` : `the index would need ${proposal.after}`,
        `${round(100 * stored.visibleShare)} % of the table's pages are all-visible`,
        `estimated size: ${bytesText(bytes)}; ${old}: ${bytesText(oldBytes)}`,
      ],
    },
  };
}
