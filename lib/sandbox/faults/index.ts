import { closest } from "fastest-levenshtein";
import { UsageError } from "../../errors.ts";
import { abandonSlot } from "./abandon-slot.ts";
import { ageJobRuns } from "./age-job-runs.ts";
import { ageMultixactIds } from "./age-multixact-ids.ts";
import { ageTransactionIds } from "./age-transaction-ids.ts";
import { breakJob } from "./break-job.ts";
import { cacheCollapse } from "./cache-collapse.ts";
import { checkpointStorm } from "./checkpoint-storm.ts";
import { corruptPage } from "./corrupt-page.ts";
import { corruptTable } from "./corrupt-table.ts";
import { cpuStorm } from "./cpu-storm.ts";
import { crashPooler } from "./crash-pooler.ts";
import { crashPrimary } from "./crash-primary.ts";
import { crashReplica } from "./crash-replica.ts";
import { deadlockStorm } from "./deadlock-storm.ts";
import { disableSchedule } from "./disable-schedule.ts";
import { errorStorm } from "./error-storm.ts";
import { exhaustKey } from "./exhaust-key.ts";
import { expireCertificate } from "./expire-certificate.ts";
import { failArchiving } from "./fail-archiving.ts";
import { failBackup } from "./fail-backup.ts";
import { failedLogins } from "./failed-logins.ts";
import type { Fault, FaultContext, FaultReport } from "./fault.ts";
import { fillConnections } from "./fill-connections.ts";
import { fillDisk } from "./fill-disk.ts";
import { fillReplicationSlot } from "./fill-replication-slot.ts";
import { forgetPreparedTransaction } from "./forget-prepared-transaction.ts";
import { growStorage } from "./grow-storage.ts";
import { hangJob } from "./hang-job.ts";
import { hogMemory } from "./hog-memory.ts";
import { idleInTransaction } from "./idle-in-transaction.ts";
import { lagReplica } from "./lag-replica.ts";
import { lateBackup } from "./late-backup.ts";
import { leakConnections } from "./leak-connections.ts";
import { leaveInvalidIndex } from "./leave-invalid-index.ts";
import { lockPileUp } from "./lock-pile-up.ts";
import { longQuery } from "./long-query.ts";
import { longTransaction } from "./long-transaction.ts";
import { loseWal } from "./lose-wal.ts";
import { outgrowStorage } from "./outgrow-storage.ts";
import { pauseReplay } from "./pause-replay.ts";
import { rejectWrites } from "./reject-writes.ts";
import { saturatePooler } from "./saturate-pooler.ts";
import { skewClock } from "./skew-clock.ts";
import { stopReplication } from "./stop-replication.ts";
import { temporaryFileStorm } from "./temporary-file-storm.ts";
import { useUpTransactionIds } from "./use-up-transaction-ids.ts";

/** Every way to break the sandbox on purpose. */
export const faults: readonly Fault[] = [
  crashPrimary,
  crashReplica,
  crashPooler,
  pauseReplay,
  lagReplica,
  stopReplication,
  fillConnections,
  longTransaction,
  idleInTransaction,
  lockPileUp,
  leakConnections,
  longQuery,
  deadlockStorm,
  errorStorm,
  temporaryFileStorm,
  cacheCollapse,
  checkpointStorm,
  cpuStorm,
  hogMemory,
  failedLogins,
  saturatePooler,
  abandonSlot,
  fillReplicationSlot,
  failArchiving,
  fillDisk,
  outgrowStorage,
  growStorage,
  ageTransactionIds,
  ageMultixactIds,
  useUpTransactionIds,
  forgetPreparedTransaction,
  exhaustKey,
  rejectWrites,
  loseWal,
  corruptPage,
  disableSchedule,
  hangJob,
  breakJob,
  ageJobRuns,
  failBackup,
  lateBackup,
  leaveInvalidIndex,
  corruptTable,
  expireCertificate,
  skewClock,
];

/** The fault that `name` or `name:argument` means. @throws UsageError that lists the names, and the nearest one first */
export function faultNamed(text: string): Fault {
  return parseFault(text).fault;
}

/** As it is shown to people: with what may follow its name. */
export function faultUsage({ name, argument }: Fault): string {
  return argument === undefined ? name : `${name}[:${argument.word}]`;
}

function parseFault(text: string): { fault: Fault; argument?: string } {
  const [name = "", ...rest] = text.split(":");
  const fault = faults.find((candidate) => candidate.name === name);
  if (fault === undefined)
    throw unknown(
      "there is no fault",
      name,
      faults.map((known) => known.name),
    );
  if (rest.length === 0) return { fault };
  const argument = rest.join(":");
  if (fault.argument?.values.includes(argument) === true) return { fault, argument };
  if (fault.argument !== undefined) {
    throw unknown(`${name} knows no ${fault.argument.word.toLowerCase()}`, argument, fault.argument.values);
  }
  throw new UsageError(`nothing can follow ${name}`, { remedy: `say ${name} alone` });
}

function unknown(what: string, name: string, names: readonly string[]): UsageError {
  return new UsageError(`${what} named ${JSON.stringify(name)}; there are ${names.join(", ")}`, {
    remedy: `did you mean ${closest(name, names)}?`,
  });
}

/** Applies the fault of that name, or repairs it. @throws UsageError; PgkeepError of the fault */
export async function runFault(
  request: { name: string; repair?: boolean },
  context: FaultContext,
): Promise<FaultReport> {
  const { fault, argument } = parseFault(request.name);
  const given = argument === undefined ? context : { ...context, argument };
  context.signal.throwIfAborted();
  const result = request.repair === true ? await fault.repair(given) : await fault.apply(given);
  return { fault: request.name, ...result };
}
