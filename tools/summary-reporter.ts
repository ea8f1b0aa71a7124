// Ends a test run with one line, "N passed, N failed[, N skipped]", which continuous integration reads.
//
// A file that could not be loaded and an error outside any test count as failures: a run is never green for want of tests.
import type { Reporter, SerializedError, TestModule } from "vitest/node";

export default class SummaryReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly SerializedError[]): void {
    const counts = { passed: 0, failed: unhandledErrors.length, skipped: 0, pending: 0 };
    for (const module of modules) {
      for (const test of module.children.allTests()) counts[test.result().state] += 1;
      counts.failed += module.errors().length;
    }
    // Vitest still prints after this hook; the line has to be the last one.
    process.once("exit", () => process.stdout.write(`${summaryLine(counts)}\n`));
  }
}

function summaryLine(counts: { passed: number; failed: number; skipped: number; pending: number }): string {
  const skipped = counts.skipped === 0 ? "" : `, ${counts.skipped} skipped`;
  // A test that never came to its end has not passed.
  return `${counts.passed} passed, ${counts.failed + counts.pending} failed${skipped}`;
}
