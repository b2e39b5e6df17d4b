/** One comparison of ours against a baseline of the same run. */
export interface BenchResult {
  name: string;
  /** What the baseline is. */
  baseline: string;
  baselineSeconds: number;
  oursSeconds: number;
  /** Ours divided by the baseline, or null for a bound in seconds. */
  ratio: number | null;
  /** The bound that the project sets itself, e.g. "ratio ≤ 0.05" or "≤ 0.1 s". */
  limit: string;
  ok: boolean;
  note?: string;
}

/** The middle one of an odd number of values. */
export function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

/** Median of so many runs of `work`, in seconds. */
export async function medianSeconds(runs: number, work: () => Promise<unknown>): Promise<number> {
  const times: number[] = [];
  for (let run = 0; run < runs; run += 1) {
    const begin = performance.now();
    await work();
    times.push((performance.now() - begin) / 1000);
  }
  return median(times);
}
