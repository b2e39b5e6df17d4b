import type { Reporter, TestModule } from "vitest/node";

/** Ends the output with one plain line that scripts can read. */
export default class ClosingLineReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly unknown[]): void {
    const counts = { passed: 0, failed: unhandledErrors.length, skipped: 0 };
    for (const module of modules) {
      let failedTests = 0;
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        if (state === "passed") counts.passed += 1;
        else if (state === "failed") failedTests += 1;
        else counts.skipped += 1;
      }
      // A file that cannot be loaded or whose hooks fail has failed, even without a failed test.
      counts.failed += failedTests === 0 && module.state() === "failed" ? 1 : failedTests;
    }
    const skipped = counts.skipped > 0 ? `, ${counts.skipped} skipped` : "";
    // Other reporters write their summary in the same turn; this line comes after it.
    setImmediate(() =>
      process.stdout.write(`\n${counts.passed} passed, ${counts.failed} failed${skipped}\n`),
    );
  }
}
