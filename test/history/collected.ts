import { maskLiterals } from "../../lib/checks/mask-literals.ts";
import { type Collected, type CollectRequest, collectHistory } from "../../lib/history/collect.ts";
import type { Installed } from "../install/installed.ts";

/** One run's collection as the monitoring role, without statements. */
export function collect(shop: Installed, more: Partial<CollectRequest> = {}): Promise<Collected> {
  return shop.as(shop.names.monitoring, (session) =>
    collectHistory({
      session,
      keepDays: 400,
      keepStatementSnapshots: 0,
      statements: 1,
      mask: maskLiterals,
      dryRun: false,
      ...more,
    }),
  );
}
