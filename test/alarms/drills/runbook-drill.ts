import type { DatabaseConfig } from "../../../lib/config/schema.ts";
import { type Drill, lowered, type WaveHooks } from "./drill.ts";
import type { DrillSandbox } from "./drill-sandbox.ts";
import { followSections } from "./runbook-remedies.ts";
import { type OnCall, readSections, shownEntries } from "./runbook-section.ts";

/** A wave with somebody on call, who reads the runbook: what is wrong with its sections is told in `problems`. */
export interface RunbookDrill extends Required<WaveHooks> {
  readonly problems: readonly string[];
}

export function runbookDrill(
  sandbox: DrillSandbox,
  config: DatabaseConfig,
  /** Also asks whether the sections show nothing as long as nothing is broken. */
  { thoroughly }: { thoroughly: boolean },
): RunbookDrill {
  const problems: string[] = [];
  const began = new Date();
  const onCall = (drills: readonly Drill[], since: Date): OnCall => ({
    state: sandbox.running.state,
    homeDirectory: sandbox.homeDirectory,
    config: lowered(config, drills),
    since,
  });
  return {
    problems,
    beforehand: async (drills) => {
      if (!thoroughly) return;
      const shown = await shownEntries(onCall(drills, began), drills);
      problems.push(...shown.map((entry) => `docs/runbook.md#${entry}: shows its fault before there is one`));
    },
    onceTold: async (drills, since) => {
      problems.push(...(await readSections(onCall(drills, since), drills)));
    },
    cure: async (drills, since) => {
      const followed = await followSections(onCall(drills, since), drills);
      problems.push(...followed.problems);
      return followed.alarms;
    },
  };
}
