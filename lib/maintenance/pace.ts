/** First guess before anything was measured: 40 MB/s, what modest cloud volumes give to one reader. */
const firstGuessPagesPerSecond = 5_000;
/** The first guess counts as if it had been measured for this long. */
const firstGuessSeconds = 2;
/** Begin, commit, catalog updates, round trip. */
const overheadSeconds = 0.02;

/** Predicts how long a table takes from its size and from what this run has measured so far. */
export class Pace {
  private pages = firstGuessPagesPerSecond * firstGuessSeconds;
  private seconds = firstGuessSeconds;

  get pagesPerSecond(): number {
    return this.pages / this.seconds;
  }

  predictSeconds(pages: number): number {
    return overheadSeconds + pages / this.pagesPerSecond;
  }

  /** Takes in one table that was worked on. Small ones say nothing about throughput. */
  learn(pages: number, seconds: number): void {
    if (pages < 500 || seconds <= 0) return;
    this.pages += pages;
    this.seconds += Math.max(seconds - overheadSeconds, 0.001);
  }
}
