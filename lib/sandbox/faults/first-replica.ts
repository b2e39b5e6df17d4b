import { PgkeepError } from "../../errors.ts";
import type { SandboxState, ServerState } from "../state.ts";

/** The replica that faults break. @throws PgkeepError `refused` when the sandbox has none */
export function firstReplica(state: SandboxState): ServerState {
  const [replica] = state.replicas;
  if (replica !== undefined) return replica;
  throw new PgkeepError("refused", "this sandbox has no replica to break", {
    remedy: "start the sandbox with --replicas 1 or more",
  });
}
