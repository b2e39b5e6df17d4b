/** A stream of numbers that its seed decides: the same seed gives the same workload. */
export interface Random {
  /** At least 0, below 1. */
  fraction(): number;
  /** From `low` to `high`, both included. */
  integer(low: number, high: number): number;
  pick<T>(items: readonly [T, ...T[]]): T;
}

/** Mulberry32 (Tommy Ettinger, public domain): 32 bits of state, good enough to choose customers. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  const fraction = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
  const integer = (low: number, high: number) => low + Math.floor(fraction() * (high - low + 1));
  return { fraction, integer, pick: (items) => items[integer(0, items.length - 1)] ?? items[0] };
}
