import { identifier } from "../../postgres/identifiers.ts";
import type { Fault, FaultContext } from "./fault.ts";
import { withSuperuser } from "./held-sessions.ts";

export const breakJob: Fault = {
  name: "break-job",
  alarms: ["job-failed", "job-absent", "job-overdue"],
  summary:
    "take the login of the maintenance role away: vacuum, reindex and manage-partitions fail and say so, nothing else notices",
  apply: async (context) =>
    (await setLogin(context, false))
      ? { outcome: "applied", ...about(context, "may not log in any more") }
      : { outcome: "already-applied", ...about(context, "may not log in") },
  repair: async (context) =>
    (await setLogin(context, true))
      ? { outcome: "repaired", ...about(context, "may log in again") }
      : { outcome: "not-applied", ...about(context, "may log in") },
};

/** False when it was so already. */
function setLogin({ state }: FaultContext, login: boolean): Promise<boolean> {
  const role = state.roles.maintenance.user;
  return withSuperuser(state, async (session) => {
    const changes = await session.query("select from pg_roles where rolname = $1 and rolcanlogin <> $2", [
      role,
      login,
    ]);
    if (changes.length === 0) return false;
    await session.query(`alter role ${identifier(role)} ${login ? "login" : "nologin"}`);
    return true;
  });
}

function about({ state }: FaultContext, what: string) {
  const role = state.roles.maintenance.user;
  return { message: `the role ${role} ${what}`, details: { role } };
}
