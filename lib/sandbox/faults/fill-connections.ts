import { connect } from "../../postgres/connect.ts";
import { hasSqlState } from "../../postgres/errors.ts";
import { SqlState } from "../../postgres/sqlstate.ts";
import type { SandboxState } from "../state.ts";
import { heldFault } from "./held-fault.ts";
import { primaryOf, withSuperuser } from "./held-sessions.ts";

/** Opened at the same time. */
const batch = 8;

export const fillConnections = heldFault(
  "fill-connections",
  ["connections-used", "database-connections", "database-down"],
  "take every connection that ordinary roles may have: new ones are refused, monitoring's too unless the server reserves some for it (reserved_connections, PostgreSQL 16 and newer)",
  async ({ state, clock, signal }, open) => {
    const [limit] = await withSuperuser(state, (session) =>
      session.query<{ connections: number }>("select current_setting('max_connections')::int as connections"),
    );
    const most = limit?.connections ?? 0;
    let opened = 0;
    // Sessions that were just leaving free their places a moment later: ask again before believing.
    for (let refusals = 0; refusals < 4 && opened < most; ) {
      const size = refusals === 0 ? batch : 1;
      const results = await Promise.allSettled(Array.from({ length: size }, () => open()));
      const failures = results.flatMap((result) => (result.status === "rejected" ? [result.reason] : []));
      const surprise = failures.find((reason) => !hasSqlState(reason, SqlState.tooManyConnections));
      if (surprise !== undefined) throw surprise;
      opened += size - failures.length;
      if (failures.length === 0) continue;
      refusals++;
      await clock.sleep(30, signal);
    }
    const monitoringGetsIn = await canLogIn(state);
    const rest = monitoringGetsIn
      ? "monitoring still gets in by the reserved ones"
      : "not even monitoring gets in";
    return {
      message: `the application holds ${opened} more connections, so that none is free; ${rest}`,
      details: { opened, maxConnections: most, monitoringGetsIn },
    };
  },
);

async function canLogIn(state: SandboxState): Promise<boolean> {
  try {
    const session = await connect({ ...primaryOf(state), ...state.roles.monitoring });
    await session.close();
    return true;
  } catch (error) {
    if (hasSqlState(error, SqlState.tooManyConnections)) return false;
    throw error;
  }
}
