import { severities } from "../checks/health.ts";
import { errorMessage, PgkeepError } from "../errors.ts";
import { Pace } from "../maintenance/pace.ts";
import type { TableName } from "../maintenance/table-name.ts";
import type { Primary, Replicas, Session, SessionOptions } from "../ports/databases.ts";
import { readAbilities } from "./abilities.ts";
import { wayOf } from "./ask.ts";
import { checksumFailures, readChecksums, withoutChecksums } from "./checksums.ts";
import { type Inventory, type Item, kinds, takeInventory } from "./items.ts";
import { type Bench, lookAt, makeReader, type Reader } from "./look-at.ts";
import { Looks } from "./looks.ts";
import { growth, order } from "./queue.ts";
import { type ChecksumState, type Covered, type IntegrityReport, kept, Reasons } from "./report.ts";

export interface IntegrityRequest {
  primary: Primary;
  replicas?: Replicas | undefined;
  /** All executions together. */
  budgetSeconds: number;
  /** Of everything, so much is wanted of one run. */
  samplePercent: number;
  lockTimeoutSeconds: number;
  skip: readonly TableName[];
  dryRun: boolean;
  deadline: AbortSignal;
  /** Milliseconds that this execution has. */
  timeLeft(): number;
  progress(message: string): void;
}

/** What the executions of one run hand on; the looks themselves are in the database. */
export interface RunState {
  /** By the primary's clock. */
  startedAt: string;
  spentSeconds: number;
  rowsChecked: number;
  pagesSpent: number;
  checked: Record<string, { checked: number; blocksChecked: number }>;
  notAssessable: { reason: string; first: string; objects: number }[];
  later: { reason: string; first: string; objects: number }[];
  notes: string[];
}

export type IntegrityOutcome =
  | { kind: "finished"; report: IntegrityReport }
  /** Another execution goes on. */
  | { kind: "unfinished"; state: RunState };

/** Kept free at the end of an execution for writing what was seen and saying so. */
const marginMilliseconds = 10_000;

/**
 * Looks at tables, indexes and rows until everything wanted was seen or the budget is used, the longest unseen first.
 * Reads happen on a replica where one answers. Locks: ACCESS SHARE on what is being read.
 * @throws PgkeepError when the primary cannot be reached
 */
export async function checkIntegrity(
  request: IntegrityRequest,
  resume?: RunState,
): Promise<IntegrityOutcome> {
  const begin = performance.now();
  const margin = Math.min(marginMilliseconds, request.timeLeft() / 5);
  // Not ended by the deadline: what was seen until then is written.
  const primary = await request.primary.connect({ role: "monitoring" });
  const sessions: Session[] = [primary];
  try {
    const clock = await serverClock(primary);
    const state = resume ?? newState(clock());
    const spentBefore = state.spentSeconds;
    const spent = () => spentBefore + (performance.now() - begin) / 1000;
    const reasons = new Reasons(state.notAssessable);
    const later = new Reasons(state.later);
    const limit = Math.ceil(request.budgetSeconds * 1000);
    const open = async (session: Session, name: string) => {
      sessions.push(session);
      return makeReader(session, name, limit);
    };
    const onPrimary = await open(await request.primary.connect(options(request, limit)), "primary");
    const replica = await openReplica(request, state, primary.database, limit);
    const reader = replica === undefined ? onPrimary : await open(replica.session, replica.name);
    const looks = await Looks.open(primary, { writes: !request.dryRun });
    if (looks.obstacle !== null && resume === undefined) {
      state.notes.push(`what was looked at is not kept for the next run: ${looks.obstacle}`);
    }
    const inventory = await takeInventory(primary, request.skip);
    if (!request.dryRun) await looks.keepOnly(keysToKeep(inventory));
    const abilities = await readAbilities(primary);
    const possible = inventory.items.filter((item) => {
      const way = wayOf(abilities, item);
      if (way.by !== "nothing") return true;
      if (resume === undefined) reasons.add(way.because, item.label);
      return false;
    });
    if (resume === undefined) {
      for (const [method, names] of inventory.withoutChecker) {
        reasons.add(`amcheck has no checker for ${method} indexes`, `index ${names[0] ?? ""}`, names.length);
      }
    }
    const bench: Bench = {
      books: primary,
      reader,
      onPrimary,
      abilities,
      looks,
      pace: new Pace(),
      lockTimeoutMilliseconds: request.lockTimeoutSeconds * 1000,
      remainingMilliseconds: () =>
        Math.min((request.budgetSeconds - spent()) * 1000, request.timeLeft() - margin),
      now: clock,
      deadline: request.deadline,
    };
    const left: Item[] = [];
    const wantedPages =
      request.samplePercent === 100
        ? Number.POSITIVE_INFINITY
        : (totalPages(possible) * request.samplePercent) / 100;
    let executionOver = false;
    let done = 0;
    const queue = order(possible, looks, bench.pace, request.budgetSeconds).filter(
      (item) => resume === undefined || !hadItsTurn(item, looks, state),
    );
    for (const item of queue) {
      if (request.dryRun || state.pagesSpent >= wantedPages) {
        left.push(item);
        continue;
      }
      if (executionOver || bench.remainingMilliseconds() <= 0 || request.deadline.aborted) {
        executionOver = true;
        left.push(item);
        continue;
      }
      if (!fits(item, bench, looks, done === 0)) {
        later.add(
          "it would not fit into the time that was left; integrity.budgetSeconds says how long a run may take",
          item.label,
        );
        left.push(item);
        executionOver ||= bench.remainingMilliseconds() < 1_000;
        continue;
      }
      const outcome = await lookAt(bench, item);
      done += 1;
      // Of what was planned: a table may have grown since its pages were counted.
      state.pagesSpent += Math.min(
        item.kind === "table" ? outcome.blocks : outcome.kind === "seen" ? item.pages : 0,
        item.pages,
      );
      const count = state.checked[item.kind] ?? { checked: 0, blocksChecked: 0 };
      state.checked[item.kind] = count;
      count.blocksChecked += outcome.blocks;
      if (outcome.kind === "seen") {
        count.checked += 1;
        state.rowsChecked += item.rows;
        state.pagesSpent += 1;
        if (outcome.note !== null) state.notes.push(outcome.note);
      } else if (outcome.kind === "refused") reasons.add(outcome.because, item.label);
      else if (outcome.kind !== "gone") {
        left.push(item);
        later.add(outcome.because, item.label);
        executionOver ||= outcome.kind === "time";
      }
      if (done % 50 === 0) request.progress(`${done} of ${queue.length} objects looked at`);
    }
    await looks.write();
    state.spentSeconds = spent();
    state.notAssessable = reasons.list();
    state.later = later.list();
    if (
      executionOver &&
      looks.obstacle === null &&
      !request.dryRun &&
      !request.deadline.aborted &&
      done > 0 &&
      state.spentSeconds + 1 < request.budgetSeconds &&
      state.pagesSpent < wantedPages
    ) {
      // Counted again by the execution that meets them again.
      return { kind: "unfinished", state: { ...state, later: [] } };
    }
    const failing = await lookAtChecksums(request, looks, [onPrimary, reader], clock());
    for (const { server } of failing.states.filter(({ enabled }) => enabled === false)) {
      reasons.add(withoutChecksums, server);
    }
    if (failing.states.length === 0)
      note(state, "the run was ended before it could ask about page checksums");
    state.notAssessable = reasons.list();
    const report = makeReport(request, state, inventory, possible, looks, left, {
      database: primary.database,
      server: reader.server,
      checksums: failing.states,
      corruptServers: failing.corrupt,
    });
    return { kind: "finished", report };
  } finally {
    for (const session of sessions) await session.close();
  }
}

function options(request: IntegrityRequest, statementTimeoutMilliseconds?: number): SessionOptions {
  return {
    role: "monitoring",
    lockTimeoutMilliseconds: request.lockTimeoutSeconds * 1000,
    signal: request.deadline,
    ...(statementTimeoutMilliseconds === undefined ? {} : { statementTimeoutMilliseconds }),
  };
}

/** Tells the time as the server would, as `Look` has it. */
async function serverClock(session: Session): Promise<() => string> {
  const [row] = await session.query<{ now: number }>(
    "select extract(epoch from clock_timestamp())::float8 * 1000 as now",
  );
  const offset = (row?.now ?? 0) - performance.now();
  return () => new Date(performance.now() + offset).toISOString().replace("Z", "000Z");
}

function newState(startedAt: string): RunState {
  return {
    startedAt,
    spentSeconds: 0,
    rowsChecked: 0,
    pagesSpent: 0,
    checked: {},
    notAssessable: [],
    later: [],
    notes: [],
  };
}

/** The first standby of the database that answers. */
async function openReplica(
  request: IntegrityRequest,
  state: RunState,
  database: string,
  limitMilliseconds: number,
): Promise<{ session: Session; name: string } | undefined> {
  for (const replica of (await request.replicas?.list()) ?? []) {
    try {
      const session = await replica.connect(options(request, limitMilliseconds));
      if (session.isStandby && session.database === database) return { session, name: replica.name };
      await session.close();
      note(state, `${replica.name} is no standby of the database: it is not asked`);
    } catch (error) {
      request.deadline.throwIfAborted();
      if (!(error instanceof PgkeepError)) throw error;
      note(state, `${replica.name} cannot be asked: ${errorMessage(error)}`);
    }
  }
  return undefined;
}

function note(state: RunState, text: string): void {
  if (state.notes.length < kept.objects && !state.notes.includes(text)) state.notes.push(text);
}

/** Items, and the servers whose checksum failures are known. */
function keysToKeep(inventory: Inventory): ReadonlySet<string> {
  return new Set(inventory.items.map(({ key }) => key).concat([checksumKey]));
}

const checksumKey = "checksums";

/** Comes last: what the run's own reading made fail is known by then. */
async function lookAtChecksums(
  request: IntegrityRequest,
  looks: Looks,
  readers: readonly Reader[],
  now: string,
): Promise<{ states: ChecksumState[]; corrupt: number }> {
  const states: ChecksumState[] = [];
  if (request.deadline.aborted) return { states, corrupt: 0 };
  for (const { session, server } of new Set(readers)) states.push(await readChecksums(session, server));
  const before = looks.get(checksumKey)?.checkedAt ?? null;
  const isNew = ({ lastFailureAt }: ChecksumState) =>
    before === null || (lastFailureAt !== null && lastFailureAt > before);
  const failing = states.filter(({ failures }) => (failures ?? 0) > 0);
  const findings = failing.map((one) => checksumFailures(one, isNew(one)));
  await looks.put({
    item: checksumKey,
    objectName: "page checksums",
    attemptedAt: now,
    checkedAt: now,
    passBeganAt: null,
    nextBlock: null,
    tooLongSeconds: null,
    corrupt: false,
    problems: findings.length === 0 ? null : findings,
  });
  if (!request.dryRun) await looks.write();
  return { states, corrupt: failing.filter(isNew).length };
}

function totalPages(items: readonly Item[]): number {
  return items.reduce((sum, { pages }) => sum + 1 + pages, 0);
}

/** Whether an earlier execution of this run has seen it, or was refused; what was locked or too long comes again. */
function hadItsTurn(item: Item, looks: Looks, state: RunState): boolean {
  const look = looks.get(item.key);
  if (look === undefined || look.attemptedAt < state.startedAt) return false;
  return look.nextBlock === null && look.tooLongSeconds === null;
}

/** A table is read in parts, so it always does. */
function fits(item: Item, bench: Bench, looks: Looks, isFirst: boolean): boolean {
  if (item.kind === "table") return true;
  const seconds = bench.remainingMilliseconds() / 1000;
  const needed = (looks.get(item.key)?.tooLongSeconds ?? 0) * growth;
  // Prediction is no measurement: with all the time there is, it is tried once.
  return needed <= seconds && (isFirst || bench.pace.predictSeconds(item.pages) <= seconds);
}

function makeReport(
  request: IntegrityRequest,
  state: RunState,
  inventory: Inventory,
  possible: readonly Item[],
  looks: Looks,
  left: readonly Item[],
  given: Pick<IntegrityReport, "database" | "server" | "checksums"> & { corruptServers: number },
): IntegrityReport {
  const { corruptServers, ...rest } = given;
  const byKind = Object.fromEntries(
    kinds.map((kind): [string, Covered] => {
      const items = possible.filter((item) => item.kind === kind);
      const stores = kind === "table" || kind === "index";
      const seen = state.checked[kind] ?? { checked: 0, blocksChecked: 0 };
      return [
        kind,
        {
          objects: items.length,
          blocks: Math.max(stores ? items.reduce((sum, { pages }) => sum + pages, 0) : 0, seen.blocksChecked),
          ...seen,
        },
      ];
    }),
  ) as IntegrityReport["coverage"]["byKind"];
  const sum = (what: keyof Covered) => Object.values(byKind).reduce((total, one) => total + one[what], 0);
  const times = possible.map((item) => looks.get(item.key)?.checkedAt ?? null);
  const neverChecked = times.filter((time) => time === null).length;
  const findings = looks
    .all()
    .flatMap(({ problems }) => problems ?? [])
    .sort(
      (a, b) => severities.indexOf(a.severity) - severities.indexOf(b.severity) || (a.key < b.key ? -1 : 1),
    );
  const corrupt = looks.all().filter((look) => look.corrupt).length;
  const total = totalPages(possible);
  const complete = left.length === 0 && sum("checked") === sum("objects");
  return {
    dryRun: request.dryRun,
    ...rest,
    budgetSeconds: request.budgetSeconds,
    secondsUsed: Math.round(state.spentSeconds * 10) / 10,
    interrupted:
      !request.dryRun && left.length > 0 && (state.pagesSpent * 100) / total < request.samplePercent,
    coverage: {
      objects: sum("objects"),
      checked: sum("checked"),
      blocks: sum("blocks"),
      blocksChecked: sum("blocksChecked"),
      rowsChecked: Math.round(state.rowsChecked),
      sharePercent: total === 0 ? 100 : Math.min(100, Math.round((state.pagesSpent * 1000) / total) / 10),
      complete,
      since: neverChecked > 0 ? null : times.reduce((a, b) => (a === null || (b ?? "") < a ? b : a), null),
      neverChecked,
      byKind,
    },
    findings: findings.slice(0, kept.findings),
    findingsTotal: findings.length,
    corruptObjects: corrupt + corruptServers,
    notAssessable: state.notAssessable,
    left: {
      total: left.length,
      objects: left.slice(0, kept.objects).map(({ label }) => label.slice(0, kept.names)),
      reasons: state.later,
    },
    skipped: inventory.skipped.slice(0, kept.objects),
    notes: state.notes.slice(0, kept.objects),
  };
}
