import { blockedSessions } from "./blocked-sessions.ts";
import { cacheHitRatio } from "./cache-hit-ratio.ts";
import { certificate } from "./certificate.ts";
import type { Check } from "./check.ts";
import { checkpoints } from "./checkpoints.ts";
import { clock } from "./clock.ts";
import { connections } from "./connections.ts";
import { databaseSize } from "./database-size.ts";
import { deadlocks } from "./deadlocks.ts";
import { heartbeat } from "./heartbeat.ts";
import { idleInTransaction } from "./idle-in-transaction.ts";
import { invalidIndexes } from "./invalid-indexes.ts";
import { longRunningQueries } from "./long-running-queries.ts";
import { preparedTransactions } from "./prepared-transactions.ts";
import { replication } from "./replication.ts";
import { replicationSlots } from "./replication-slots.ts";
import { temporaryFiles } from "./temporary-files.ts";
import { wraparound } from "./wraparound.ts";

/** What check-health asks each minute: cheap questions about the live state, none of which waits for a lock. */
export const healthChecks: readonly Check[] = [
  connections,
  longRunningQueries,
  idleInTransaction,
  blockedSessions,
  cacheHitRatio,
  deadlocks,
  temporaryFiles,
  checkpoints,
  replication,
  replicationSlots,
  wraparound,
  preparedTransactions,
  databaseSize,
  invalidIndexes,
  certificate,
  clock,
  heartbeat,
];
