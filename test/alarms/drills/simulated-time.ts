interface Mark {
  realMilliseconds: number;
  simulatedMilliseconds: number;
}

/**
 * Time that stands still between ticks. It remembers which real moment each simulated one was, so that what a
 * server says in its own time ("two seconds ago") can be said in simulated time ("twenty minutes ago").
 */
export class SimulatedTime {
  readonly #marks: Mark[];
  readonly #realNow: () => number;

  constructor(start: Date, realNow: () => number = Date.now) {
    this.#realNow = realNow;
    this.#marks = [{ realMilliseconds: realNow(), simulatedMilliseconds: start.getTime() }];
  }

  now(): Date {
    return new Date(this.#last.simulatedMilliseconds);
  }

  advance(seconds: number): void {
    const simulatedMilliseconds = this.#last.simulatedMilliseconds + seconds * 1000;
    this.#marks.push({ realMilliseconds: this.#realNow(), simulatedMilliseconds });
  }

  /**
   * The simulated moment of a real one: in proportion between two ticks. Before the first tick, and after the last,
   * a second is a second; what has just happened is never later than now.
   */
  of(real: Date): Date {
    const at = real.getTime();
    const index = this.#marks.findLastIndex(({ realMilliseconds }) => realMilliseconds <= at);
    const before = this.#marks[index];
    const after = this.#marks[index + 1];
    if (before === undefined) {
      const [first] = this.#marks as [Mark];
      return new Date(first.simulatedMilliseconds - (first.realMilliseconds - at));
    }
    if (after === undefined) return new Date(before.simulatedMilliseconds);
    const share = (at - before.realMilliseconds) / (after.realMilliseconds - before.realMilliseconds);
    const simulated = after.simulatedMilliseconds - before.simulatedMilliseconds;
    return new Date(before.simulatedMilliseconds + share * simulated);
  }

  /** What a real age is in simulated seconds. */
  ageSeconds(realAgeSeconds: number): number {
    const happened = this.of(new Date(this.#realNow() - realAgeSeconds * 1000));
    return Math.max(0, (this.now().getTime() - happened.getTime()) / 1000);
  }

  get #last(): Mark {
    return this.#marks.at(-1) as Mark;
  }
}
