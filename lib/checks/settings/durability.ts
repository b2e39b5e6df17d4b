import { concludeReview, type ReviewCheck } from "../review-check.ts";
import { readSettings, type SettingFault, settingFinding } from "./server-settings.ts";

const rootCause = "switched off for speed, often for a load or a test, and not back on";
const prevention =
  "keep the server's configuration in version control, and set these for a session or not at all";

/** Switches whose documentation says that data is lost or damage passes unseen (PostgreSQL, "Write Ahead Log", "Developer Options"). */
const dangerous: readonly (Pick<SettingFault, "name" | "wanted" | "severity" | "impact"> & {
  bad: string;
})[] = [
  {
    name: "fsync",
    bad: "off",
    wanted: "on",
    severity: "critical",
    impact: "A crash of the machine can damage the whole cluster beyond repair",
  },
  {
    name: "full_page_writes",
    bad: "off",
    wanted: "on",
    severity: "critical",
    impact: "A crash in the middle of writing a page leaves it torn, and recovery cannot mend it",
  },
  {
    name: "zero_damaged_pages",
    bad: "on",
    wanted: "off",
    severity: "critical",
    impact: "A damaged page is emptied when it is read: its rows are gone without an error",
  },
  {
    name: "ignore_checksum_failure",
    bad: "on",
    wanted: "off",
    severity: "critical",
    impact: "Damaged pages are used as if they were sound, and the damage spreads into backups and replicas",
  },
  {
    name: "synchronous_commit",
    bad: "off",
    wanted: "on",
    severity: "medium",
    impact:
      "Transactions whose COMMIT was answered are lost when the server crashes within about three times wal_writer_delay",
  },
  {
    name: "wal_level",
    bad: "minimal",
    wanted: "replica",
    severity: "high",
    impact: "Neither point-in-time recovery nor a replica is possible",
  },
];

/** Whether committed data survives a crash. Some hide from roles without pg_read_all_settings: those are named. */
export const durability: ReviewCheck = {
  name: "durability",
  title: "Does what was committed survive a crash?",
  area: "settings",
  async run(context) {
    const settings = await readSettings(context);
    const hidden = dangerous.map(({ name }) => name).filter((name) => !settings.byName.has(name));
    const findings = dangerous
      .filter(({ name, bad }) => settings.text(name) === bad)
      .map(({ bad, ...one }) =>
        settingFinding("durability", settings, {
          ...one,
          confidence: "certain",
          title: `${one.name} is ${bad}`,
          rootCause,
          prevention,
        }),
      );
    return concludeReview({
      findings,
      facts: Object.fromEntries(dangerous.map(({ name }) => [name, settings.text(name) ?? null])),
      good: ["Nothing that PostgreSQL has to keep committed data through a crash is switched off."],
      obstacle:
        hidden.length === 0
          ? undefined
          : `this role does not see ${hidden.join(", ")}: grant it pg_read_all_settings`,
    });
  },
};
