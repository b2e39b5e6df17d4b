import { crashServer, isRunning, startServer } from "../server.ts";
import type { SandboxState, ServerState } from "../state.ts";
import type { FaultResult } from "./fault.ts";

/** Kills every process of the server with SIGKILL, as a loss of power to the machine would. */
export async function crash(server: ServerState): Promise<FaultResult> {
  const details = { server: server.name, port: server.port };
  if (!(await isRunning(server.dataDirectory))) {
    return { outcome: "already-applied", message: `${server.name} is not running`, details };
  }
  await crashServer(server.dataDirectory);
  return { outcome: "applied", message: `every process of ${server.name} was killed`, details };
}

/** Starts it again on its port; recovery replays what it had promised. @throws PgkeepError `start-failed` */
export async function startAgain(
  state: SandboxState,
  server: ServerState,
  signal: AbortSignal,
): Promise<FaultResult> {
  const details = { server: server.name, port: server.port };
  if (await isRunning(server.dataDirectory)) {
    return { outcome: "not-applied", message: `${server.name} is running`, details };
  }
  const begun = performance.now();
  const { dataDirectory, port } = server;
  await startServer(
    { dataDirectory, binDirectory: state.binDirectory, owner: state.owner },
    { port, signal },
  );
  const seconds = Math.round(performance.now() - begun) / 1_000;
  return {
    outcome: "repaired",
    message: `${server.name} accepts connections again after ${seconds} s`,
    details: { ...details, seconds },
  };
}
