import { concludeReview, type ReviewCheck } from "../review-check.ts";
import { readSettings, shown } from "./server-settings.ts";

/** Settings that were changed and wait for a restart: the next one, maybe at night, changes behaviour. */
export const pendingRestart: ReviewCheck = {
  name: "pending-restart",
  title: "Do changed settings wait for a restart?",
  area: "settings",
  async run(context) {
    const settings = await readSettings(context);
    const waiting = [...settings.byName.values()].filter((one) => one.pendingRestart);
    return concludeReview({
      facts: { waiting: waiting.map(({ name }) => name) },
      good: ["The server runs with the settings that its configuration names."],
      findings: waiting.map((setting) => ({
        check: "pending-restart",
        key: `pending-restart/${setting.name}`,
        severity: "low",
        confidence: "certain",
        object: { name: setting.name },
        title: `${setting.name} was changed and waits for a restart`,
        evidence: { valueNow: shown(setting) },
        impact: "The server does not run as its configuration says, and the next restart changes it unasked",
        blastRadius: "every database of this server",
        rootCause: "the setting takes effect only when the server starts, and it was not restarted since",
        prevention: "restart in a maintenance window soon after such a change",
        effort: "hours",
        remediation: {
          sql: "-- Restart the server in a maintenance window.",
          lock: "the server is away while it restarts",
          rollback: `take the change of ${setting.name} back in the configuration and reload`,
        },
      })),
    });
  },
};
