import { PgkeepError } from "../../errors.ts";
import type { Session } from "../../ports/databases.ts";
import { countText } from "../../words.ts";
import type { Fault, FaultContext, FaultResult } from "./fault.ts";
import { withSuperuser } from "./held-sessions.ts";

/** Keeps a loop going until the fault is repaired or the sandbox ends. */
export type GoOn = (body: (signal: AbortSignal) => Promise<void>) => void;

/** A fault that consists of sessions on the primary, and of loops over them: repaired by ending both. */
export function heldFault(
  name: string,
  alarms: readonly string[],
  summary: string,
  /** `open` keeps another session as the application's writer, or as superuser; `goOn` keeps a loop going. */
  create: (
    context: FaultContext,
    open: (as?: "application" | "superuser") => Promise<Session>,
    goOn: GoOn,
  ) => Promise<Omit<FaultResult, "outcome">>,
): Fault {
  return {
    name,
    alarms,
    summary,
    apply: async (context) => {
      const { held, state } = context;
      const pids = await held.pids(name, state);
      if (pids.length > 0 || held.goesOn(name)) {
        const message = `${name} holds ${countText(pids.length, "session")} already`;
        return { outcome: "already-applied", message, details: { pids } };
      }
      try {
        const result = await create(
          context,
          (as = "application") =>
            held.open(name, state, as === "superuser" ? state.superuser : state.application.writer),
          (body) => held.goOn(name, context.signal, body),
        );
        return { outcome: "applied", ...result };
      } catch (error) {
        await held.end(name, state);
        throw error;
      }
    },
    repair: async ({ held, state }) => {
      const wentOn = held.goesOn(name);
      const ended = await held.end(name, state);
      return ended === 0 && !wentOn
        ? { outcome: "not-applied", message: `${name} holds no session`, details: { sessions: 0 } }
        : {
            outcome: "repaired",
            message: `${countText(ended, "session")} of ${name} ended`,
            details: { sessions: ended },
          };
    },
  };
}

/** @throws PgkeepError `refused` when the sample application is not in the database */
export async function requireApplication({ state }: FaultContext): Promise<void> {
  const [row] = await withSuperuser(state, (session) =>
    session.query<{ present: boolean }>("select to_regclass('shop.warehouses') is not null as present"),
  );
  if (row?.present === true) return;
  throw new PgkeepError("refused", "the sample application is not in this sandbox's database", {
    remedy: "start the sandbox again: it loads the application",
  });
}

/** Process id of the session's server process. */
export async function pidOf(session: Session): Promise<number> {
  const [row] = await session.query<{ pid: number }>("select pg_backend_pid() as pid");
  return row?.pid ?? 0;
}
