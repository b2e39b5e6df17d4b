import { PgkeepError } from "../../errors.ts";
import { connect } from "../../postgres/connect.ts";
import { hasSqlState } from "../../postgres/errors.ts";
import { SqlState } from "../../postgres/sqlstate.ts";
import type { SandboxState } from "../state.ts";
import { every } from "./every.ts";
import type { Fault } from "./fault.ts";
import { primaryOf } from "./held-sessions.ts";

const name = "failed-logins";
/** Ten a second: a hundred after ten seconds, and some 10 MB of the server's log an hour. */
const pauseMilliseconds = 100;

export const failedLogins: Fault = {
  name,
  alarms: ["failed-logins"],
  summary:
    "log in as the application with a wrong password, ten times a second, as a client that missed a rotation: the server's log has a line for each",
  apply: async ({ state, held, signal }) => {
    const { user } = state.application.writer;
    const details = { user, attemptsPerSecond: 1_000 / pauseMilliseconds };
    if (held.goesOn(name)) {
      return { outcome: "already-applied", message: `${user} is being refused already`, details };
    }
    await logIn(state);
    held.goOn(name, signal, (stopped) =>
      every(pauseMilliseconds, stopped, () =>
        logIn(state).catch((error: unknown) => {
          // A server that is gone is asked again.
          if (!(error instanceof PgkeepError && error.code === "unreachable")) throw error;
        }),
      ),
    );
    return {
      outcome: "applied",
      message: `a client logs in as ${user} with a wrong password, again and again`,
      details,
    };
  },
  repair: async ({ state, held }) => {
    const { user } = state.application.writer;
    return (await held.stop(name))
      ? { outcome: "repaired", message: `nobody logs in as ${user} with a wrong password`, details: { user } }
      : { outcome: "not-applied", message: `no wrong password of ${user} is being tried`, details: { user } };
  },
};

/** @throws PgkeepError when the server refuses for another reason than the password */
async function logIn(state: SandboxState): Promise<void> {
  const { user, password } = state.application.writer;
  try {
    const session = await connect({
      ...primaryOf(state),
      user,
      password: `${password} as it was`,
      applicationName: `pgkeep fault ${name}`,
    });
    await session.close();
  } catch (error) {
    if (!hasSqlState(error, SqlState.invalidPassword)) throw error;
  }
}
