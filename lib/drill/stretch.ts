import { PgkeepError } from "../errors.ts";
import type { Json } from "../json.ts";
import type { Session } from "../ports/databases.ts";
import { hasSqlState } from "../postgres/errors.ts";
import { SqlState } from "../postgres/sqlstate.ts";
import { durationText } from "../words.ts";
import { type CollectorState, ProofCollector } from "./proof.ts";

/** How far one kind of look has got over its objects. */
export type StageState = {
  /** Index of the first object that is still to be looked at; their order is the same each time. */
  next: number;
  checked: number;
  problems: string[];
};

export type StretchState = {
  spentSeconds: number;
  rtoSeconds: number | null;
  stages: Record<string, StageState>;
  looks: CollectorState;
  /** What stages count beside. */
  counts: Record<string, number>;
};

/** The time of this execution is over; the next one goes on from the state. */
export class Interrupted extends Error {}

/** Problems of a stage that are handed on one by one, and characters of each; a verdict shows fewer. */
const problemsKept = 10;
const longestProblem = 200;

export interface StretchLimits {
  /** Milliseconds until this execution must end. */
  timeLeft?: (() => number) | undefined;
  /** Milliseconds that all executions together may work. */
  atMostMilliseconds?: number | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * One execution of work that may need several. It stops between two objects, or at an object that does not fit
 * into what is left; an object that gets a whole execution and does not fit is given up and said to be so.
 */
export class Stretch {
  readonly state: StretchState;
  readonly looks: ProofCollector;
  readonly #limits: StretchLimits;
  readonly #began = performance.now();
  readonly #spentBefore: number;
  readonly #margin: number;
  #done = 0;

  constructor(limits: StretchLimits, resume?: Json) {
    this.#limits = limits;
    this.state = (resume as StretchState | undefined) ?? {
      spentSeconds: 0,
      rtoSeconds: null,
      stages: {},
      looks: { gaps: [], broken: [], reasons: [] },
      counts: {},
    };
    this.#spentBefore = this.state.spentSeconds;
    this.looks = new ProofCollector(this.state.looks);
    this.#margin = Math.min(10_000, (limits.timeLeft?.() ?? 0) / 5);
  }

  /** What the next execution needs: bounded, however much was found. */
  leave(): StretchState {
    for (const stage of Object.values(this.state.stages)) {
      const { problems } = stage;
      stage.problems = problems.slice(0, problemsKept).map((problem) => problem.slice(0, longestProblem));
      if (problems.length > problemsKept) stage.problems.push(`${problems.length - problemsKept} others`);
    }
    this.state.spentSeconds = this.#spentBefore + (performance.now() - this.#began) / 1000;
    return this.state;
  }

  /** Keeps every statement of these sessions inside the time that is left. */
  async limit(...sessions: (Session | undefined)[]): Promise<void> {
    const left = this.#left();
    if (!Number.isFinite(left)) return;
    for (const session of sessions) {
      await session?.query("select set_config('statement_timeout', $1, false)", [
        String(Math.max(1, Math.floor(left))),
      ]);
    }
  }

  /**
   * Looks at each object in turn, from where the last execution stopped. `look` resolves to the problems it found.
   * What was refused, broken or too large goes to `looks`.
   * @throws Interrupted
   */
  async over<T>(
    stage: string,
    objects: readonly T[],
    nameOf: (object: T) => string,
    look: (object: T) => Promise<readonly string[]>,
    sessions: readonly (Session | undefined)[],
  ): Promise<StageState> {
    this.state.stages[stage] ??= { next: 0, checked: 0, problems: [] };
    const state = this.state.stages[stage];
    for (const object of objects.slice(state.next)) {
      if (this.#exhausted()) {
        const limit = durationText((this.#limits.atMostMilliseconds ?? 0) / 1000);
        this.looks.note(nameOf(object), `the time for proving (${limit}) was over`);
      } else {
        if (this.#done > 0 && this.#left() <= 0) throw new Interrupted();
        await this.limit(...sessions);
        const found = await this.looks.attempt(nameOf(object), () => this.fitting(() => look(object)));
        if (found !== undefined) {
          state.checked += 1;
          state.problems.push(...found);
        }
        this.#done += 1;
      }
      state.next += 1;
      // Only what belongs to finished objects: an interrupted one is looked at again.
      this.state.looks = this.looks.state();
    }
    return state;
  }

  count(name: string, more: number): number {
    const sum = (this.state.counts[name] ?? 0) + more;
    this.state.counts[name] = sum;
    return sum;
  }

  /** Whether the time of this execution cut off a statement between two objects. */
  wasCut(error: unknown): boolean {
    return (
      error instanceof Interrupted ||
      (this.#done > 0 && Number.isFinite(this.#left()) && hasSqlState(error, SqlState.queryCanceled))
    );
  }

  /** Something that may not fit into what is left. @throws Interrupted, PgkeepError `timeout` */
  async fitting<T>(look: () => Promise<T>): Promise<T> {
    const began = performance.now();
    try {
      return await look();
    } catch (error) {
      if (this.#limits.signal?.aborted === true) throw new Interrupted();
      if (!Number.isFinite(this.#left()) || !hasSqlState(error, SqlState.queryCanceled)) throw error;
      if (this.#done > 0) throw new Interrupted();
      const seconds = Math.max(1, Math.round((performance.now() - began) / 1000));
      throw new PgkeepError("timeout", `reading it takes longer than one execution has (${seconds} s)`);
    }
  }

  #left(): number {
    return (this.#limits.timeLeft?.() ?? Number.POSITIVE_INFINITY) - this.#margin;
  }

  #exhausted(): boolean {
    const spent = this.#spentBefore * 1000 + (performance.now() - this.#began);
    return spent > (this.#limits.atMostMilliseconds ?? Number.POSITIVE_INFINITY);
  }
}
