import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: ["test/helpers/temporary-directory.ts"],
    // No test is a measurement: a busy machine is slow, not wrong.
    testTimeout: 120_000,
    hookTimeout: 240_000,
    pool: "forks",
    // Tests wait for servers about half of their time, so two cores keep three of them busy.
    maxWorkers: Math.max(2, Math.ceil(availableParallelism() * 1.5)),
    reporters: ["default", "./scripts/closing-line-reporter.ts"],
  },
});
