import type { SandboxState } from "../state.ts";
import { type Measure, ofEachServer, ofServer } from "./measure.ts";

/** The title of a process that serves a client: `postgres: USER DATABASE HOST(PORT) …`. */
const clientTitle = /^postgres: (?!walsender ).*\(\d+\)/;

/** Those of the superuser, whom only the sandbox itself uses, are what RDS's own are. */
function isClient(title: string, { superuser }: SandboxState): boolean {
  return clientTitle.test(title) && !title.startsWith(`postgres: ${superuser.user} `);
}

/**
 * - `DatabaseConnections`. AWS: client network connections to the instance, without those of RDS itself and of
 *   replication. Ours: processes that serve a client over the network, as the machine lists them, so that it is known
 *   when nobody can log in any more. Sessions of pgkeep's jobs count, those of the sandbox's superuser do not.
 * - `DBLoadRelativeToNumVCPUs`. AWS: sessions that are active or wait within a statement, a mean of one look a second,
 *   over the vCPUs of the class. Ours: one look for each datum.
 *
 * Absent while the server does not run, the second also while it does not answer.
 */
export const connections: Measure = {
  metrics: ["DatabaseConnections", "DBLoadRelativeToNumVCPUs"],
  start: () => (context) =>
    ofEachServer(context, async (server) => {
      const clients = server.processes.filter(({ title }) => isClient(title, context.state)).length;
      const [load] =
        (await context.ask<{ active: number }>(
          server,
          `select count(*)::int as active from pg_stat_get_activity(null)
            where backend_type = 'client backend' and state in ('active', 'fastpath function call')
              and pid <> pg_backend_pid()`,
        )) ?? [];
      return [
        ...(server.processes.length === 0 ? [] : [ofServer("DatabaseConnections", server, clients)]),
        ...(load === undefined
          ? []
          : [ofServer("DBLoadRelativeToNumVCPUs", server, load.active / context.machine.vcpus)]),
      ];
    }),
};
