import { setTimeout as delay } from "node:timers/promises";
import { PgkeepError } from "../../errors.ts";
import type { Session } from "../../ports/databases.ts";
import { identifier, literal } from "../../postgres/identifiers.ts";
import type { SandboxState } from "../state.ts";
import { withSuperuser } from "./held-sessions.ts";

/**
 * Sets a setting on one server by `ALTER SYSTEM`, which wins over what pgkeep.conf says, and waits until it is in
 * effect. Resolves to false when it was set so before.
 */
export function overrideSetting(
  state: SandboxState,
  port: number,
  name: string,
  value: string,
): Promise<boolean> {
  return withSuperuser(
    state,
    async (session) => {
      if (await isOverridden(session, name)) return false;
      await session.query(`alter system set ${identifier(name)} = ${literal(value)}`);
      await reload(session, name, true);
      return true;
    },
    port,
  );
}

/** Takes back what `overrideSetting` did. Resolves to false when there was nothing to take back. */
export function restoreSetting(state: SandboxState, port: number, name: string): Promise<boolean> {
  return withSuperuser(
    state,
    async (session) => {
      if (!(await isOverridden(session, name))) return false;
      await session.query(`alter system reset ${identifier(name)}`);
      await reload(session, name, false);
      return true;
    },
    port,
  );
}

const automaticFile = "%postgresql.auto.conf";

async function isOverridden(session: Session, name: string): Promise<boolean> {
  const lines = await session.query(
    "select 1 from pg_file_settings where name = $1 and sourcefile like $2 limit 1",
    [name, automaticFile],
  );
  return lines.length > 0;
}

async function reload(session: Session, name: string, overridden: boolean): Promise<void> {
  await session.query("select pg_reload_conf()");
  for (let attempt = 0; attempt < 500; attempt++) {
    const [row] = await session.query<{ here: boolean }>(
      "select coalesce(sourcefile like $2, false) as here from pg_settings where name = $1",
      [name, automaticFile],
    );
    if (row?.here === overridden) return;
    await delay(10);
  }
  throw new PgkeepError("timeout", `the server did not take the setting ${name} within 5 s`, {
    remedy: "see the server's log for what it says about its configuration",
  });
}
