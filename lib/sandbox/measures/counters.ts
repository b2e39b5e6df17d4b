import { type Measure, ofEachServer, ofServer } from "./measure.ts";

/**
 * - `MaximumUsedTransactionIDs`. AWS: the most transaction ids in use, which its guide and its own log read with
 *   `max(age(datfrozenxid))`. Ours: the same.
 * - `CheckpointLag`. AWS: time since the most recent checkpoint. Ours: time since the last checkpoint that has finished
 *   began, on a replica since the last restartpoint. PostgreSQL makes none while nothing is written, so that it rises
 *   on a sandbox without jobs; RDS itself writes every five minutes.
 *
 * Absent while the server does not run or answer.
 */
export const counters: Measure = {
  metrics: ["MaximumUsedTransactionIDs", "CheckpointLag"],
  start: () => (context) =>
    ofEachServer(context, async (server) => {
      const [row] =
        (await context.ask<{ ids: number; lagSeconds: number }>(
          server,
          `select (select max(age(datfrozenxid)) from pg_database)::int as ids,
                  extract(epoch from clock_timestamp() - checkpoint_time)::float8 as "lagSeconds"
             from pg_control_checkpoint()`,
        )) ?? [];
      if (row === undefined) return [];
      return [
        ofServer("MaximumUsedTransactionIDs", server, row.ids),
        ofServer("CheckpointLag", server, Math.max(0, row.lagSeconds)),
      ];
    }),
};
