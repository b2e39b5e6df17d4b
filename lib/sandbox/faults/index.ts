import { closest } from "fastest-levenshtein";
import { UsageError } from "../../errors.ts";
import { abandonSlot } from "./abandon-slot.ts";
import { corruptPage } from "./corrupt-page.ts";
import { crashPooler } from "./crash-pooler.ts";
import { crashPrimary } from "./crash-primary.ts";
import { crashReplica } from "./crash-replica.ts";
import type { Fault, FaultContext, FaultReport } from "./fault.ts";
import { fillConnections } from "./fill-connections.ts";
import { idleInTransaction } from "./idle-in-transaction.ts";
import { lockPileUp } from "./lock-pile-up.ts";
import { longTransaction } from "./long-transaction.ts";
import { loseWal } from "./lose-wal.ts";
import { pauseReplay } from "./pause-replay.ts";

/** Every way to break the sandbox on purpose. */
export const faults: readonly Fault[] = [
  crashPrimary,
  crashReplica,
  crashPooler,
  pauseReplay,
  fillConnections,
  longTransaction,
  idleInTransaction,
  lockPileUp,
  abandonSlot,
  loseWal,
  corruptPage,
];

/** @throws UsageError that lists the names, and the nearest one first */
export function faultNamed(name: string): Fault {
  const found = faults.find((fault) => fault.name === name);
  if (found !== undefined) return found;
  const names = faults.map((fault) => fault.name);
  throw new UsageError(`there is no fault named ${JSON.stringify(name)}; there are ${names.join(", ")}`, {
    remedy: `did you mean ${closest(name, names)}?`,
  });
}

/** Applies the fault of that name, or repairs it. @throws UsageError; PgkeepError of the fault */
export async function runFault(
  request: { name: string; repair?: boolean },
  context: FaultContext,
): Promise<FaultReport> {
  const fault = faultNamed(request.name);
  context.signal.throwIfAborted();
  const result = request.repair === true ? await fault.repair(context) : await fault.apply(context);
  return { fault: fault.name, ...result };
}
