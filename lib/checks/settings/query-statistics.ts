import { concludeReview, type ReviewCheck, type ReviewFinding } from "../review-check.ts";
import { change, readSettings, settingFinding } from "./server-settings.ts";

/** Whether the server remembers which statements cost what: without it no review of the workload is possible. */
export const queryStatistics: ReviewCheck = {
  name: "query-statistics",
  title: "Does the server remember what its statements cost?",
  area: "settings",
  async run(context) {
    const settings = await readSettings(context);
    const findings: ReviewFinding[] = [];
    const preloaded = settings.text("shared_preload_libraries");
    // Its settings exist only where the library is loaded, whether or not this role may see the list.
    const loaded =
      settings.byName.has("pg_stat_statements.track") || preloaded?.includes("pg_stat_statements") === true;
    const installed = context.extensions.has("pg_stat_statements");
    if (!installed || !loaded) {
      findings.push({
        check: "query-statistics",
        key: "query-statistics/pg_stat_statements",
        severity: "medium",
        confidence: "certain",
        object: { name: "pg_stat_statements" },
        title: loaded
          ? "pg_stat_statements is loaded but not installed here"
          : "pg_stat_statements is not loaded",
        evidence: { loaded, installed },
        impact: "Nobody can tell which statements take the time, before or after a change",
        blastRadius: "every question about performance",
        rootCause: "it is not part of the default configuration",
        prevention: "make it part of every new database",
        effort: loaded ? "minutes" : "hours",
        remediation: loaded
          ? {
              sql: "CREATE EXTENSION pg_stat_statements;",
              lock: "none on tables",
              rollback: "DROP EXTENSION pg_stat_statements;",
            }
          : change(
              settings,
              "shared_preload_libraries",
              [preloaded, "pg_stat_statements"].filter((one) => one !== undefined && one !== "").join(","),
            ),
        ...(loaded
          ? {
              fix: {
                up: ["CREATE EXTENSION pg_stat_statements;"],
                down: ["DROP EXTENSION pg_stat_statements;"],
                proof: ["the library is loaded: its settings are there"],
              },
            }
          : {}),
      });
    } else if (settings.text("pg_stat_statements.track") === "none") {
      findings.push(
        settingFinding("query-statistics", settings, {
          name: "pg_stat_statements.track",
          wanted: "top",
          severity: "medium",
          confidence: "certain",
          title: "pg_stat_statements is installed and counts nothing",
          impact: "Nobody can tell which statements take the time",
          rootCause: "switched off",
          prevention: "leave it at top",
        }),
      );
    }
    if (settings.isOff("track_io_timing")) {
      findings.push(
        settingFinding("query-statistics", settings, {
          name: "track_io_timing",
          wanted: "on",
          severity: "low",
          confidence: "likely",
          title: "time spent on reading and writing is not measured",
          impact: "Whether a statement waits for the disk or for the processor cannot be told",
          rootCause: "off is PostgreSQL's default, for machines with slow clocks",
          prevention: "check the clock once with pg_test_timing, and switch it on where it is fast",
        }),
      );
    }
    return concludeReview({
      findings,
      facts: { loaded, installed },
      good: ["The server remembers what its statements cost, disk included."],
    });
  },
};
