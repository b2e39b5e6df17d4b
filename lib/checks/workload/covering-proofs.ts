import { identifier } from "../../postgres/identifiers.ts";
import { nodesOf } from "../generic-plan.ts";
import { needsOf } from "./candidates.ts";
import type { Parsed, Seen } from "./common.ts";
import { bytesOf, fitting, type Search } from "./covering-searches.ts";
import { planText } from "./explain.ts";
import { proveIndex } from "./proofs.ts";
import { propose } from "./proposals.ts";
import type { Column } from "./tables.ts";

/** A plan must cost half of what it did, as for an index that is missing. */
const worthwhileShare = 0.5;

export interface Proved extends Search {
  definition: string;
  isProved: boolean;
  after: string;
  bytes: number;
}

/** Undefined when hypopg refutes it, or another index serves the statement better still. */
export async function prove(search: Search, definition: string, seen: Seen): Promise<Proved | undefined> {
  const { context, tables } = seen;
  const { statement, table, index, included, question, plan } = search;
  const hypopg = context.extensions.get("hypopg")?.schema;
  const bytes = bytesOf(index, table, included);
  if (hypopg === undefined) {
    const after = `about ${Math.ceil(search.blocksThen)} instead of ${Math.round(search.blocksNow)} blocks for each call, in the index alone`;
    return { ...search, definition, isProved: false, after, bytes };
  }
  for (const need of needsOf(statement, tables, 0)) {
    if ((await propose(seen, statement, need, { question, plan }, hypopg)) !== undefined) return undefined;
  }
  const body = coveringBody(definition, included);
  if (body === undefined) return undefined;
  const proof = await proveIndex(context.session, hypopg, question, plan, table, body);
  if (proof === undefined || proof.after["Total Cost"] > plan["Total Cost"] * worthwhileShare)
    return undefined;
  if (!nodesOf(proof.after).some((node) => node["Node Type"] === "Index Only Scan")) return undefined;
  return { ...search, definition, isProved: true, after: planText(proof.after), bytes: proof.bytes };
}

/** What follows the table's name in the definition of an index, with these columns in INCLUDE and without uniqueness. */
export function coveringBody(definition: string, included: readonly Column[]): string | undefined {
  const keys = brackets(definition, 0);
  const method = "USING btree ";
  if (keys === undefined || !definition.slice(0, keys.from).endsWith(method)) return undefined;
  const rest = definition.slice(keys.to).replace(/;$/, "");
  const old = rest.startsWith(" INCLUDE (") ? brackets(rest, 0) : undefined;
  const end = rest.slice(old?.to ?? 0).replace(/^ NULLS NOT DISTINCT/, "");
  const names = included.map(({ name }) => identifier(name)).join(", ");
  return `${method}${definition.slice(keys.from, keys.to)} INCLUDE (${names})${end}`;
}

/** The first bracket outside of quotes, up to behind the one that closes it. */
function brackets(text: string, start: number): { from: number; to: number } | undefined {
  let quote: string | undefined;
  let depth = 0;
  let from = start;
  for (let at = start; at < text.length; at++) {
    const character = text[at];
    if (quote !== undefined) {
      if (character === quote) quote = undefined;
    } else if (character === '"' || character === "'") quote = character;
    else if (character === "(") {
      if (depth === 0) from = at;
      depth += 1;
    } else if (character === ")") {
      depth -= 1;
      if (depth === 0) return { from, to: at + 1 };
    }
  }
  return undefined;
}

export interface Proposal extends Omit<Proved, "statement"> {
  /** The costliest first. */
  statements: [Parsed, ...Parsed[]];
}

/** One index for all statements that search by the same, as long as its columns are few; the costliest decides. */
export function merged(proved: readonly Proved[]): Proposal[] {
  const byIndex = new Map<number, Proposal>();
  for (const { statement, ...search } of proved) {
    const host = byIndex.get(search.index.oid);
    if (host === undefined) {
      byIndex.set(search.index.oid, { ...search, statements: [statement] });
      continue;
    }
    const together = fitting([...new Set([...host.included, ...search.included])]);
    if (together === undefined) continue;
    if (together.length > host.included.length) {
      host.bytes = Math.max(host.bytes, bytesOf(host.index, host.table, together));
    }
    host.included = together;
    host.isProved &&= search.isProved;
    host.statements.push(statement);
  }
  return [...byIndex.values()];
}
