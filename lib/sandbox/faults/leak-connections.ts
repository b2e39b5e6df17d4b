import { PgkeepError } from "../../errors.ts";
import { every } from "./every.ts";
import { heldFault, pidOf } from "./held-fault.ts";

/** One more connection this often: a hundred take ten seconds. */
const leakMilliseconds = 100;

export const leakConnections = heldFault(
  "leak-connections",
  ["connections-used", "database-connections", "database-down"],
  `open a connection each ${leakMilliseconds} ms and never close one: the application's idle sessions grow until none is left, and it takes back whichever is freed`,
  async (_, open, goOn) => {
    const pid = await pidOf(await open());
    goOn((signal) =>
      every(leakMilliseconds, signal, async () => {
        try {
          await open();
        } catch (error) {
          // A client that leaks tries again when it is refused, or when the server is not there.
          if (!(error instanceof PgkeepError && error.code === "unreachable")) throw error;
        }
      }),
    );
    return {
      message: `the application opens a connection each ${leakMilliseconds} ms and closes none`,
      details: { firstPid: pid, connectionsPerSecond: 1_000 / leakMilliseconds },
    };
  },
);
