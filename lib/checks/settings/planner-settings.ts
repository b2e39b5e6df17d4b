import { concludeReview, type ReviewCheck } from "../review-check.ts";
import { readSettings, type SettingFault, settingFinding } from "./server-settings.ts";

/** For a single spinning disk; cloud volumes and SSDs read at random nearly as fast (PostgreSQL, "Planner Cost Constants"). */
const randomPageCostOfDisks = 4;

/** Whether the planner was told what holds for this machine. */
export const plannerSettings: ReviewCheck = {
  name: "planner-settings",
  title: "Does the planner reckon with this machine?",
  area: "settings",
  async run(context) {
    const settings = await readSettings(context);
    const faults: SettingFault[] = [...settings.byName.values()]
      .filter(
        ({ name, type, value, bootValue }) =>
          name.startsWith("enable_") && type === "bool" && bootValue === "on" && value === "off",
      )
      .map(({ name }) => ({
        name,
        wanted: "on",
        severity: "medium",
        confidence: "certain",
        title: `${name} is off for every statement`,
        impact: "Plans that need it are not found, for any statement, although one was meant",
        rootCause: "switched off for one statement's sake",
        prevention: "switch it off in the transaction that needs it (SET LOCAL), and mend the statistics",
      }));
    if (settings.number("random_page_cost") >= randomPageCostOfDisks) {
      faults.push({
        name: "random_page_cost",
        wanted: "1.1",
        severity: "low",
        confidence: "suspected",
        title: "the planner reckons with a spinning disk",
        impact:
          "Index scans look dearer than they are on SSDs and cloud volumes, and tables are read whole instead",
        rootCause: "4 is PostgreSQL's default",
        prevention: "set it with the kind of storage when the server is made",
      });
    }
    if (settings.number("default_statistics_target") < 100) {
      faults.push({
        name: "default_statistics_target",
        wanted: "100",
        severity: "low",
        confidence: "likely",
        title: `statistics keep only ${settings.text("default_statistics_target")} values a column`,
        impact: "Rows are misjudged where values are skewed, and plans with them",
        rootCause: "lowered to make ANALYZE faster",
        prevention: "lower it for single columns only",
      });
    }
    return concludeReview({
      findings: faults.map((fault) => settingFinding("planner-settings", settings, fault)),
      facts: { randomPageCost: settings.number("random_page_cost") },
      good: ["The planner may use every kind of plan, with costs that fit modern storage."],
    });
  },
};
