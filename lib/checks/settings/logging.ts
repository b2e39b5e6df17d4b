import { concludeReview, type ReviewCheck } from "../review-check.ts";
import { readSettings, type SettingFault, settingFinding } from "./server-settings.ts";

interface Wanted {
  name: string;
  /** What means that nothing is logged. */
  missing: string;
  wanted: string;
  unseen: string;
}

/** What an investigation the next day asks of the log, and the settings that leave it out (PostgreSQL, "What to Log"). */
const useful: readonly Wanted[] = [
  { name: "log_lock_waits", missing: "off", wanted: "on", unseen: "who waited for whose lock" },
  {
    name: "log_min_duration_statement",
    missing: "-1",
    wanted: "1s",
    unseen: "which statement was slow, and when",
  },
  { name: "log_checkpoints", missing: "off", wanted: "on", unseen: "when checkpoints flooded the disk" },
  {
    name: "log_temp_files",
    missing: "-1",
    wanted: "10MB",
    unseen: "which statement wrote temporary files",
  },
  {
    name: "log_autovacuum_min_duration",
    missing: "-1",
    wanted: "10s",
    unseen: "which tables autovacuum was busy with, and what it could not remove",
  },
];

/** Whether the log will tell what happened, and does not tell what it must not. */
export const logging: ReviewCheck = {
  name: "logging",
  title: "Will the log tell what happened, without telling secrets?",
  area: "settings",
  async run(context) {
    const settings = await readSettings(context);
    const faults: SettingFault[] = useful
      .filter(({ name, missing }) => settings.text(name) === missing)
      .filter(
        ({ name }) =>
          name !== "log_min_duration_statement" || !sampled(settings.number("log_min_duration_sample")),
      )
      .map(({ name, wanted, unseen }) => ({
        name,
        wanted,
        severity: "low",
        confidence: "certain",
        title: `the log does not say ${unseen}`,
        impact: `After an incident nobody can tell ${unseen}`,
        rootCause: "not logging it was the default when the server was configured",
        prevention: "keep the settings of logging in version control with the rest",
      }));
    const statements = settings.text("log_statement");
    if (statements === "all" || statements === "mod") {
      faults.push({
        name: "log_statement",
        wanted: "ddl",
        severity: "medium",
        confidence: "certain",
        title: `every ${statements === "all" ? "statement" : "write"} is logged with its values`,
        impact:
          "Personal data and passwords in statements end up in log files, and writing them costs time and disk",
        rootCause: "set for debugging or for an audit",
        prevention:
          "audit with pgaudit where an audit is needed, and slow statements with log_min_duration_statement",
      });
    }
    return concludeReview({
      findings: faults.map((fault) => settingFinding("logging", settings, fault)),
      facts: { logStatement: statements ?? null },
      good: [
        "The log names slow statements, lock waits, temporary files, checkpoints and vacuums, and no statement's values by the thousand.",
      ],
    });
  },
};

function sampled(milliseconds: number): boolean {
  return milliseconds >= 0;
}
