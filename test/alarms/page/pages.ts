import type { Alarm } from "../../../lib/alarms/alarm.ts";
import { alarmsFor } from "../../../lib/alarms/catalogue.ts";
import type { Look, LookFinding } from "../../../lib/alarms/page/look.ts";
import { composePage, type Page } from "../../../lib/alarms/page/page.ts";
import { configOf, contextOf } from "../contexts.ts";

export const runbook = "https://example.com/pgkeep/runbook.md";
const config = { ...configOf("instance", { replicas: { count: 1 } }), key: "shop" };
export const shopConfig = { ...config, database: { ...config.database, name: "shop" } };
export const shopAlarms = alarmsFor(contextOf(shopConfig));

export function shopAlarm(name: string): Alarm {
  const found = shopAlarms.find((one) => one.name === name);
  if (found === undefined) throw new Error(`there is no alarm ${name}`);
  return found;
}

export const rootFinding: LookFinding = {
  from: "blocked-sessions",
  text: '"shop_app" ("checkout", pid 4711, idle in transaction) holds up 7 sessions, for 4 min',
  hurts: "7 sessions of shop_app",
  evidence: {
    rootPid: 4711,
    user: "shop_app",
    ageSeconds: 252,
    statement: "update shop.orders set status = ? where id = ?",
  },
};

export function lookWith(...findings: LookFinding[]): Look {
  return { lookedAt: "2026-11-21T18:03:05.000Z", findings, unseen: [] };
}

/** The page of an alarm of a database shop, with the look given. */
export function pageOf(
  name: string,
  given: { look?: Look; value?: number; state?: Page["state"]; runbook?: string } = {},
): Page {
  return composePage({
    alarm: shopAlarm(name),
    config: shopConfig,
    transition: {
      state: given.state ?? "alarm",
      since: new Date("2026-11-21T18:03:00Z"),
      value: given.value,
    },
    look: given.look,
    runbook: given.runbook ?? runbook,
  });
}
