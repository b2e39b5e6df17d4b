import { setTimeout as delay } from "node:timers/promises";
import { PgkeepError } from "../../errors.ts";
import type { Session } from "../../ports/databases.ts";
import { hasSqlState } from "../../postgres/errors.ts";
import { identifier, literal } from "../../postgres/identifiers.ts";
import { SqlState } from "../../postgres/sqlstate.ts";
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
  const lines = await queryReplaying(
    session,
    "select 1 from pg_file_settings where name = $1 and sourcefile like $2 limit 1",
    [name, automaticFile],
  );
  return lines.length > 0;
}

async function reload(session: Session, name: string, overridden: boolean): Promise<void> {
  await queryReplaying(session, "select pg_reload_conf()");
  for (let attempt = 0; attempt < 500; attempt++) {
    const [row] = await queryReplaying<{ here: boolean }>(
      session,
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

/** Asks again when a standby that catches up has cancelled the question for what it replays. */
async function queryReplaying<Row extends object>(
  session: Session,
  text: string,
  values: readonly unknown[] = [],
): Promise<Row[]> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await session.query<Row>(text, values);
    } catch (error) {
      if (attempt === 100 || !hasSqlState(error, SqlState.serializationFailure)) throw error;
      await delay(10);
    }
  }
}
