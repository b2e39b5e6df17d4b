import { errorMessage, PgkeepError } from "../errors.ts";
import type { Part } from "./status.ts";

/** That there is no such thing here, which is no fault. */
export class Absence {
  readonly reason: string;
  readonly remedy: string | undefined;
  constructor(reason: string, remedy?: string) {
    this.reason = reason;
    this.remedy = remedy;
  }
}

export interface PartDefinition<T> {
  /** Given up after so long, whatever hangs. */
  budgetMilliseconds: number;
  /** Not read again before. */
  everyMilliseconds: number;
  /** @throws anything: the part is not known then, and says why */
  read(signal: AbortSignal): Promise<T | Absence>;
}

export interface PartReader<T> {
  /** Reads again when it is time; never throws, and never takes longer than the budget. */
  refresh(signal: AbortSignal): Promise<Part<T>>;
}

/** Keeps one part, so that what fails or hangs there is its own affair. */
export function partReader<T>(definition: PartDefinition<T>, now: () => Date): PartReader<T> {
  const { budgetMilliseconds, everyMilliseconds } = definition;
  let part: Part<T> | undefined;
  let readAt = Number.NEGATIVE_INFINITY;
  let known: { at: string; data: T } | undefined;
  /** A read that did not obey its signal and still goes on: nobody starts a second one beside it. */
  let underWay: Promise<T | Absence> | undefined;

  const read = async (outer: AbortSignal): Promise<T | Absence> => {
    const ending = new AbortController();
    const end = () => ending.abort(outer.reason);
    outer.addEventListener("abort", end, { once: true });
    const timer = setTimeout(
      () =>
        ending.abort(new PgkeepError("timeout", `no answer within ${budgetMilliseconds / 1_000} seconds`)),
      budgetMilliseconds,
    );
    const ended = new Promise<never>((_, reject) => {
      ending.signal.addEventListener("abort", () => reject(ending.signal.reason), { once: true });
    });
    ended.catch(() => {});
    try {
      outer.throwIfAborted();
      underWay ??= definition.read(ending.signal).finally(() => {
        underWay = undefined;
      });
      underWay.catch(() => {});
      return await Promise.race([underWay, ended]);
    } finally {
      clearTimeout(timer);
      outer.removeEventListener("abort", end);
    }
  };

  return {
    refresh: async (signal) => {
      if (part !== undefined && performance.now() - readAt < everyMilliseconds) return part;
      try {
        const data = await read(signal);
        if (data instanceof Absence) part = absent(data);
        else {
          known = { at: now().toISOString(), data };
          part = { state: "known", ...known };
        }
      } catch (error) {
        part =
          error instanceof PgkeepError && error.code === "not-installed"
            ? absent(new Absence(error.message, error.remedy))
            : unknown(error, now().toISOString(), known);
      }
      readAt = performance.now();
      return part;
    },
  };
}

function absent({ reason, remedy }: Absence): Part<never> {
  return { state: "absent", reason, ...(remedy === undefined ? {} : { remedy }) };
}

function unknown<T>(error: unknown, at: string, last: { at: string; data: T } | undefined): Part<T> {
  const remedy = error instanceof PgkeepError ? error.remedy : undefined;
  return {
    state: "unknown",
    at,
    reason: errorMessage(error),
    ...(remedy === undefined ? {} : { remedy }),
    ...(last === undefined ? {} : { last }),
  };
}
