import { concludeReview, type ReviewCheck } from "../review-check.ts";
import { readSettings } from "./server-settings.ts";

/** Without checksums a page that storage has damaged is believed; on by default from 18 on. */
export const pageChecksums: ReviewCheck = {
  name: "page-checksums",
  title: "Would a damaged page be noticed?",
  area: "settings",
  async run(context) {
    const settings = await readSettings(context);
    if (settings.platform === "rds" || settings.isOn("data_checksums")) {
      return concludeReview({
        facts: { dataChecksums: settings.text("data_checksums") ?? null },
        good: ["Pages carry checksums, so damage by storage is noticed when a page is read."],
      });
    }
    return concludeReview({
      facts: { dataChecksums: settings.text("data_checksums") ?? null },
      findings: [
        {
          check: "page-checksums",
          key: "page-checksums/data_checksums",
          severity: "medium",
          confidence: "certain",
          object: { name: "data_checksums" },
          title: "pages have no checksums",
          evidence: { dataChecksums: settings.text("data_checksums") ?? "unknown" },
          impact:
            "A page that storage has damaged is read as if it were sound, and copied into every backup and replica",
          blastRadius: "every table and index of this server",
          rootCause: "initdb before version 18 makes clusters without them unless --data-checksums is given",
          prevention: "make new clusters with initdb --data-checksums",
          effort: "days",
          remediation: {
            sql: "-- With the server stopped: pg_checksums --enable -D DATA_DIRECTORY\n-- Without a long stop: enable them on a replica that is stopped for it, then switch over to it.",
            lock: "the server is stopped while every page is rewritten",
            rollback: "pg_checksums --disable -D DATA_DIRECTORY, with the server stopped",
          },
        },
      ],
    });
  },
};
