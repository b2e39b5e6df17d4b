import type { Session } from "../../ports/databases.ts";

/**
 * Has the server count at once what this session did. By itself it counts each second at most; until 14 there is
 * no way to ask, and it is half a second.
 */
export async function countNow(session: Session): Promise<void> {
  if (session.serverVersionNumber < 150_000) return;
  await session.query("select pg_stat_force_next_flush()");
}
