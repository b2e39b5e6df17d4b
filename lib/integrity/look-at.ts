import type { Finding } from "../checks/check.ts";
import type { Pace } from "../maintenance/pace.ts";
import { StatementLimit } from "../maintenance/statement-limit.ts";
import { Watcher } from "../maintenance/watch.ts";
import type { Session } from "../ports/databases.ts";
import { durationText } from "../words.ts";
import type { Abilities } from "./abilities.ts";
import { askIndex, askRows, askSequence, askTable, type Damage, failureOf, readPages, wayOf } from "./ask.ts";
import {
  corruption,
  outsideEnum,
  type Seen,
  sequenceBehind,
  suspectedOrphans,
  violated,
} from "./findings.ts";
import type { Item } from "./items.ts";
import type { Look, Looks } from "./looks.ts";

/** A session that looks, with its limit. */
export interface Reader {
  session: Session;
  limit: StatementLimit;
  /** Of its backend, for whoever watches it; null on a replica, where nobody waits for a lock of ours. */
  pid: number | null;
  server: string;
}

export async function makeReader(
  session: Session,
  server: string,
  limitMilliseconds: number,
): Promise<Reader> {
  const [row] = await session.query<{ pid: number }>(
    "select pg_backend_pid() as pid, set_config('jit', 'off', false)",
  );
  const limit = new StatementLimit(session, limitMilliseconds);
  return { session, limit, pid: session.isStandby ? null : (row?.pid ?? null), server };
}

/** What a look needs. */
export interface Bench {
  /** Keeps the books on the primary, and watches that nobody waits there. */
  books: Session;
  reader: Reader;
  /** For what a standby does not know. */
  onPrimary: Reader;
  abilities: Abilities;
  looks: Looks;
  pace: Pace;
  lockTimeoutMilliseconds: number;
  /** Of this execution. */
  remainingMilliseconds(): number;
  /** By the primary's clock, as `Look` has it. */
  now(): string;
  deadline: AbortSignal;
}

export type LookOutcome = { blocks: number } & (
  | { kind: "seen"; note: string | null }
  | { kind: "gone" }
  | { kind: "refused" | "later" | "time"; because: string }
);

/** Parts of a table are read in about this time each: nobody holds a lock or a snapshot for longer. */
const partSeconds = 5;
const partPages = { least: 256, most: 65_536 };

/** Damage of one table beyond which reading on tells nothing more. */
const enoughDamage = 20;

/** Looks at one item and notes what came of it. @throws what is no answer of the server: a lost connection */
export async function lookAt(bench: Bench, item: Item): Promise<LookOutcome> {
  if (item.kind === "table") return lookAtTable(bench, item);
  const beganAt = bench.now();
  const reader = item.primaryOnly ? bench.onPrimary : bench.reader;
  const answer = await attempt(bench, reader, item, (session) => ask(bench, session, item));
  if (answer.kind !== "answered") return noteFailure(bench, item, answer, 0);
  bench.pace.learn(item.pages, answer.seconds);
  let note: string | null = null;
  let findings = answer.value.findings;
  const { damage } = answer.value;
  if (damage !== null) {
    // A page may have been read in the moment of its change; real damage is there the second time.
    const again = await attempt(bench, reader, item, (session) => ask(bench, session, item));
    if (again.kind === "answered" && again.value.damage === null) {
      note = `${item.label} seemed damaged (${damage}), and was not when it was read again`;
      findings = again.value.findings;
    } else {
      findings = [
        corruption(item, [{ message: damage, block: null, item: null }], await seen(bench, reader, item)),
      ];
    }
  }
  await put(bench, item, { checkedAt: beganAt, findings });
  return { kind: "seen", note, blocks: item.kind === "index" ? item.pages : 0 };
}

type NotTable = Exclude<Item, { kind: "table" }>;

/** Findings about rows, or the server's word for damage. */
async function ask(
  bench: Bench,
  session: Session,
  item: NotTable,
): Promise<{ findings: Finding[]; damage: string | null }> {
  const way = wayOf(bench.abilities, item);
  try {
    if (item.kind === "index") {
      return { findings: [], damage: await askIndex(session, way, item.stored.oid, item.stored.method) };
    }
    if (item.kind === "sequence") {
      const behind = await askSequence(session, item.oid);
      return {
        findings: behind.map((one) => sequenceBehind(item.sequenceSchema, item.name, one)),
        damage: null,
      };
    }
    const rows = await askRows(session, item);
    const finding =
      item.kind === "reference"
        ? suspectedOrphans(item, rows)
        : item.kind === "enum-like"
          ? outsideEnum(item, rows)
          : rows.violations > 0
            ? violated(item, rows)
            : undefined;
    return { findings: finding === undefined ? [] : [finding], damage: null };
  } catch (error) {
    const failure = failureOf(error, way);
    if (failure.kind === "damage") return { findings: [], damage: failure.message };
    throw error;
  }
}

/** Part by part from where the last look stopped, so that the largest table is seen over some runs. */
async function lookAtTable(bench: Bench, item: Item & { kind: "table" }): Promise<LookOutcome> {
  const reader = item.primaryOnly ? bench.onPrimary : bench.reader;
  const way = wayOf(bench.abilities, item);
  const before = bench.looks.get(item.key);
  const resumes = (before?.nextBlock ?? 0) > 0;
  const beganAt = resumes ? (before?.passBeganAt ?? bench.now()) : bench.now();
  const { oid } = item.stored;
  const size = await attempt(bench, reader, item, (session) => readPages(session, oid));
  if (size.kind !== "answered") return noteFailure(bench, item, size, 0);
  const damage: Damage[] = [];
  const notes: string[] = [];
  let next = before?.nextBlock ?? 0;
  let read = 0;
  const finish = async (unfinished: boolean) => {
    const findings = damage.length === 0 ? [] : [corruption(item, damage, await seen(bench, reader, item))];
    const older = (before?.problems ?? []).filter(
      ({ evidence }) => unfinished || String(evidence.seenAt ?? "") >= beganAt,
    );
    await put(bench, item, {
      ...(unfinished ? { nextBlock: next, passBeganAt: beganAt } : { checkedAt: beganAt }),
      findings: findings.length > 0 ? findings : older,
    });
  };
  while (next < size.value) {
    const pages = Math.min(
      Math.max(Math.round(bench.pace.pagesPerSecond * partSeconds), partPages.least),
      partPages.most,
    );
    const last = Math.min(next + pages, size.value) - 1;
    const part = await attempt(bench, reader, item, (session) => askPart(session, way, oid, next, last));
    if (part.kind !== "answered") {
      if (part.kind === "gone") return { kind: "gone", blocks: read };
      if (next > 0 || damage.length > 0) await finish(true);
      return noteFailure(bench, item, part, read);
    }
    const stoppedAt = part.value.find(({ block, unreadable }) => unreadable && block !== null)?.block;
    const end = stoppedAt ?? last;
    read += end - next + 1;
    bench.pace.learn(end - next + 1, part.seconds);
    const confirmed = await confirm(bench, reader, item, part.value, { next, last });
    if (confirmed.length < part.value.length && notes.length === 0) {
      notes.push(
        `${item.label} seemed damaged (${part.value[0]?.message}), and was not when it was read again`,
      );
    }
    damage.push(...confirmed);
    next = end + 1;
    if (damage.length >= enoughDamage) break;
    if (next < size.value && bench.remainingMilliseconds() <= 0) {
      await finish(true);
      return { kind: "time", because: `read up to block ${next} of ${size.value}`, blocks: read };
    }
  }
  await finish(false);
  return { kind: "seen", note: notes[0] ?? null, blocks: read };
}

type Part = Damage & { unreadable: boolean };

/** A page that cannot be read ends the look at its part; its number is in the message in every language. */
async function askPart(
  session: Session,
  way: ReturnType<typeof wayOf>,
  oid: number,
  first: number,
  last: number,
): Promise<Part[]> {
  let found: Damage[];
  try {
    found = await askTable(session, way, oid, first, last);
  } catch (error) {
    const failure = failureOf(error, way);
    if (failure.kind !== "damage") throw error;
    found = [{ message: failure.message, block: null, item: null }];
  }
  return found.map((one) => {
    if (one.block !== null) return { ...one, unreadable: false };
    const numbers = [...one.message.matchAll(/(?<![\d/"])\d+(?![\d/"])/g)].map(([text]) => Number(text));
    const block = numbers.find((number) => number >= first && number <= last) ?? null;
    return { ...one, block, unreadable: true };
  });
}

/** Only what is there when the same pages are read again. */
async function confirm(
  bench: Bench,
  reader: Reader,
  item: Item & { kind: "table" },
  found: readonly Part[],
  part: { next: number; last: number },
): Promise<Part[]> {
  if (found.length === 0) return [];
  const way = wayOf(bench.abilities, item);
  const confirmed: Part[] = [];
  for (const block of new Set(found.map((one) => one.block))) {
    const [first, last] = block === null ? [part.next, part.last] : [block, block];
    const again = await attempt(bench, reader, item, (session) =>
      askPart(session, way, item.stored.oid, first, last),
    );
    // Whoever cannot look again believes what was seen.
    if (again.kind !== "answered") confirmed.push(...found.filter((one) => one.block === block));
    else confirmed.push(...again.value);
  }
  return confirmed;
}

/** Where damage was seen; of a replica's, whether the primary has it as well. */
async function seen(bench: Bench, reader: Reader, item: Item): Promise<Seen> {
  const isReplica = reader.session.isStandby;
  let alsoOnPrimary: boolean | null = null;
  if (isReplica) {
    const way = wayOf(bench.abilities, item);
    const answer = await attempt(bench, bench.onPrimary, item, async (session) => {
      if (item.kind !== "table") return (await ask(bench, session, item)).damage !== null;
      const pages = await readPages(session, item.stored.oid);
      return pages > 0 && (await askPart(session, way, item.stored.oid, 0, pages - 1)).length > 0;
    });
    if (answer.kind === "answered") alsoOnPrimary = answer.value;
  }
  return { server: reader.server, isReplica, alsoOnPrimary };
}

type Attempt<T> =
  | { kind: "answered"; value: T; seconds: number }
  | { kind: "gone" }
  | { kind: "refused" | "later" | "time"; because: string; tooLongSeconds?: number };

/** One statement within what is left of the time, that gives way to whoever waits for its locks. */
async function attempt<T>(
  bench: Bench,
  reader: Reader,
  item: Item,
  work: (session: Session) => Promise<T>,
): Promise<Attempt<T>> {
  const began = performance.now();
  const available = Math.max(1, bench.remainingMilliseconds());
  let yieldedTo: string | null = null;
  try {
    await reader.limit.ensure(available);
    let value: T;
    if (reader.pid === null) value = await work(reader.session);
    else {
      const watcher = new Watcher(bench.books, bench.lockTimeoutMilliseconds);
      const watched = await watcher.during(reader.pid, work(reader.session));
      yieldedTo = watched.yieldedTo;
      if (watched.result.status === "rejected") throw watched.result.reason;
      value = watched.result.value;
    }
    return { kind: "answered", value, seconds: (performance.now() - began) / 1000 };
  } catch (error) {
    if (bench.deadline.aborted) return { kind: "time", because: "the run was ended" };
    const failure = failureOf(error, wayOf(bench.abilities, item));
    switch (failure.kind) {
      case "cut":
        if (yieldedTo !== null) return { kind: "later", because: `it gave way to ${yieldedTo}` };
        return {
          kind: "time",
          because: `it takes longer than the ${durationText(available / 1000)} that were left; integrity.budgetSeconds says how long a run may take`,
          tooLongSeconds: available / 1000,
        };
      case "damage":
        return { kind: "refused", because: failure.message };
      default:
        return failure;
    }
  }
}

async function noteFailure(
  bench: Bench,
  item: Item,
  failure: Exclude<Attempt<unknown>, { kind: "answered" }>,
  blocks: number,
): Promise<LookOutcome> {
  if (failure.kind === "gone") return { kind: "gone", blocks };
  const tooLongSeconds = item.kind === "table" ? null : (failure.tooLongSeconds ?? null);
  // Whoever had no luck stays where it is in the line.
  if (failure.kind === "refused" || tooLongSeconds !== null) {
    const known = bench.looks.get(item.key) ?? emptyLook(item);
    await bench.looks.put({ ...known, attemptedAt: bench.now(), tooLongSeconds });
  }
  return { kind: failure.kind, because: failure.because, blocks };
}

function emptyLook(item: Item): Omit<Look, "attemptedAt"> {
  return {
    item: item.key,
    objectName: item.label.slice(0, 200),
    checkedAt: null,
    passBeganAt: null,
    nextBlock: null,
    tooLongSeconds: null,
    corrupt: false,
    problems: null,
  };
}

async function put(
  bench: Bench,
  item: Item,
  what: { checkedAt?: string; nextBlock?: number; passBeganAt?: string; findings: Finding[] },
): Promise<void> {
  const { findings, ...positions } = what;
  const now = bench.now();
  const dated = findings.map((finding) => ({ ...finding, evidence: { seenAt: now, ...finding.evidence } }));
  await bench.looks.put({
    ...emptyLook(item),
    checkedAt: bench.looks.get(item.key)?.checkedAt ?? null,
    ...positions,
    attemptedAt: now,
    corrupt: dated.some(({ check }) => check === "corrupt-table" || check === "corrupt-index"),
    problems: dated.length === 0 ? null : dated,
  });
}
