import { expect } from "vitest";
import type { FaultContext, FaultReport } from "../../lib/sandbox/faults/fault.ts";
import { runFault } from "../../lib/sandbox/faults/index.ts";

/**
 * Applies and repairs a fault, each twice: the second time changes nothing and says so. `broken` looks while it is
 * on, `whole` after its repair. Whatever fails, the next test begins without it.
 */
export async function aroundFault(
  context: FaultContext,
  name: string,
  broken: (report: FaultReport) => Promise<void>,
  whole: (report: FaultReport) => Promise<void> = async () => {},
): Promise<void> {
  const apply = () => runFault({ name }, context);
  const repair = () => runFault({ name, repair: true }, context);
  expect(await repair()).toMatchObject({ outcome: "not-applied" });
  const report = await apply();
  try {
    expect(report).toMatchObject({ outcome: "applied" });
    await broken(report);
    expect(await apply()).toMatchObject({ outcome: "already-applied" });
    expect(await repair()).toMatchObject({ outcome: "repaired" });
  } finally {
    await repair();
  }
  await whole(report);
  expect(await repair()).toMatchObject({ outcome: "not-applied" });
}
