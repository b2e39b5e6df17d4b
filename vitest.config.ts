import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

/** Files that take minutes by themselves: begun first, so that the end does not wait for one of them alone. */
const longest = /\/alarms\/drills\/(?:drills|week)\.test\.ts$/;

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const isLong = ({ moduleId }: TestSpecification) => longest.test(moduleId);
    return [...sorted.filter(isLong), ...sorted.filter((file) => !isLong(file))];
  }
}

/**
 * Loading the CDK takes seconds: these files share it within a worker. One counts what all stacks of its process
 * acknowledge, and stays apart.
 */
const synthesizing = ["test/{constructs,stacks}/**/!(acknowledged).test.ts"];

export default defineConfig({
  test: {
    projects: [
      { extends: true, test: { name: "cdk", include: synthesizing, isolate: false } },
      { extends: true, test: { name: "rest", include: ["test/**/*.test.ts"], exclude: synthesizing } },
    ],
    globalSetup: ["test/helpers/temporary-directory.ts"],
    // No test is a measurement: a busy machine is slow, not wrong.
    testTimeout: 120_000,
    hookTimeout: 240_000,
    pool: "forks",
    sequence: { sequencer: LongestFirst },
    // Tests wait for servers about half of their time, so two cores keep three of them busy.
    maxWorkers: Math.max(2, Math.ceil(availableParallelism() * 1.5)),
    reporters: ["default", "./scripts/closing-line-reporter.ts"],
  },
});
