import type { Fault } from "./fault.ts";
import { firstReplica } from "./first-replica.ts";
import { withSuperuser } from "./held-sessions.ts";

const isPaused = "select pg_is_wal_replay_paused() as paused";

export const pauseReplay: Fault = {
  name: "pause-replay",
  alarms: ["replica-lag", "replica-not-serving"],
  summary:
    "pause replay on the first replica: it still streams but shows older and older rows, its lag grows and it stops serving reads",
  apply: async ({ state }) => {
    const replica = firstReplica(state);
    return withSuperuser(
      state,
      async (session) => {
        const details = { server: replica.name };
        const [before] = await session.query<{ paused: boolean }>(isPaused);
        if (before?.paused === true) {
          return { outcome: "already-applied", message: `replay on ${replica.name} is paused`, details };
        }
        await session.query("select pg_wal_replay_pause()");
        return { outcome: "applied", message: `replay on ${replica.name} was paused`, details };
      },
      replica.port,
    );
  },
  repair: async ({ state }) => {
    const replica = firstReplica(state);
    return withSuperuser(
      state,
      async (session) => {
        const details = { server: replica.name };
        const [before] = await session.query<{ paused: boolean }>(isPaused);
        if (before?.paused !== true) {
          return { outcome: "not-applied", message: `replay on ${replica.name} is not paused`, details };
        }
        await session.query("select pg_wal_replay_resume()");
        return { outcome: "repaired", message: `${replica.name} replays again`, details };
      },
      replica.port,
    );
  },
};
