import { concludeReview, type ReviewCheck } from "../review-check.ts";
import { readSettings, type SettingFault, settingFinding, shown } from "./server-settings.ts";

/** Above it, too little room is left between the forced vacuum and the stop at two billion (PostgreSQL, "Routine Vacuuming"). */
const freezeAgeTooHigh = 1_000_000_000;
/** Version 12 lowered the default from 20 ms to 2 ms, because modern disks were left idle by it (release notes of 12). */
const slowCostDelayMilliseconds = 20;
/** Five times the default of one minute: short bursts of dead rows pile up between two looks. */
const slowNaptimeSeconds = 300;

/** Whether the server cleans up after itself, and fast enough. */
export const autovacuumSettings: ReviewCheck = {
  name: "autovacuum-settings",
  title: "Can autovacuum keep up?",
  area: "settings",
  async run(context) {
    const settings = await readSettings(context);
    const faults: SettingFault[] = [];
    const prevention =
      "change autovacuum for single tables (ALTER TABLE … SET (autovacuum_…)), not for the server";
    for (const name of ["autovacuum", "track_counts"]) {
      if (!settings.isOff(name)) continue;
      faults.push({
        name,
        wanted: "on",
        severity: "critical",
        confidence: "certain",
        title: `${name} is off: nothing is vacuumed or analyzed by itself`,
        impact:
          "Tables bloat, plans go by old statistics, and the server stops accepting writes when transaction ids run out",
        rootCause: "switched off against the load of vacuum, which comes back many times larger later",
        prevention,
      });
    }
    if (settings.number("autovacuum_freeze_max_age") > freezeAgeTooHigh) {
      faults.push({
        name: "autovacuum_freeze_max_age",
        wanted: "200000000",
        severity: "high",
        confidence: "certain",
        title: `autovacuum_freeze_max_age is ${settings.text("autovacuum_freeze_max_age")}: forced vacuums begin late`,
        impact:
          "Little time is left between the first forced vacuum and the moment at which the server refuses writes",
        rootCause: "raised to have fewer forced vacuums",
        prevention: "watch the age of the oldest transaction id",
      });
    }
    if (settings.number("autovacuum_vacuum_cost_delay") >= slowCostDelayMilliseconds) {
      faults.push({
        name: "autovacuum_vacuum_cost_delay",
        wanted: "2ms",
        severity: "medium",
        confidence: "likely",
        title: `autovacuum sleeps ${shown(settings.byName.get("autovacuum_vacuum_cost_delay"))} at a time: it reads at most a few MB/s`,
        impact: "Large tables take hours to vacuum, and bloat grows meanwhile",
        rootCause: "the default of versions before 12, carried along",
        prevention: "compare the configuration with the defaults after each upgrade",
      });
    }
    if (settings.number("autovacuum_naptime") > slowNaptimeSeconds) {
      faults.push({
        name: "autovacuum_naptime",
        wanted: "1min",
        severity: "low",
        confidence: "likely",
        title: `autovacuum looks at each database only every ${shown(settings.byName.get("autovacuum_naptime"))}`,
        impact: "Busy tables bloat between two looks",
        rootCause: "raised to have fewer workers start",
        prevention,
      });
    }
    return concludeReview({
      findings: faults.map((fault) => settingFinding("autovacuum-settings", settings, fault)),
      facts: {
        workers: settings.text("autovacuum_max_workers") ?? null,
        scaleFactor: settings.text("autovacuum_vacuum_scale_factor") ?? null,
      },
      good: ["Autovacuum is on, with settings that let it keep up."],
    });
  },
};
