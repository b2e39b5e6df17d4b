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
  "take every connection that ordinary roles may have: new ones are refused; monitoring comes in by the reserved ones (PostgreSQL 16 and newer) and reports 100 %, before 16 it is refused too",
  async ({ state }, open) => {
    const [limit] = await withSuperuser(state, (session) =>
      session.query<{ connections: number }>("select current_setting('max_connections')::int as connections"),
    );
    let opened = 0;
    let full = false;
    while (!full && opened < (limit?.connections ?? 0)) {
      const results = await Promise.allSettled(Array.from({ length: batch }, () => open()));
      for (const result of results) {
        if (result.status === "fulfilled") opened++;
        else if (hasSqlState(result.reason, SqlState.tooManyConnections)) full = true;
        else throw result.reason;
      }
    }
    const monitoringGetsIn = await canLogIn(state);
    const rest = monitoringGetsIn
      ? "monitoring still gets in by the reserved ones"
      : "not even monitoring gets in";
    return {
      message: `the application holds ${opened} more connections, so that none is free; ${rest}`,
      details: { opened, maxConnections: limit?.connections ?? 0, monitoringGetsIn },
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
