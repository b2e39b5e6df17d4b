import type { ReviewCheck } from "../review-check.ts";
import { autovacuumParameters } from "./autovacuum-parameters.ts";
import { bloatedTables } from "./bloated-tables.ts";
import { bloatedToast } from "./bloated-toast.ts";
import { defaultPartitionRows } from "./default-partition-rows.ts";
import { hotUpdates } from "./hot-updates.ts";
import { partitioningCandidates } from "./partitioning-candidates.ts";
import { partitionsAhead } from "./partitions-ahead.ts";
import { staleStatistics } from "./stale-statistics.ts";
import { tablesNeedingVacuum } from "./tables-needing-vacuum.ts";
import { transactionIdAge } from "./transaction-id-age.ts";
import { unloggedTables } from "./unlogged-tables.ts";
import { unusedTables } from "./unused-tables.ts";
import { vacuumHeldBack } from "./vacuum-held-back.ts";

export const spaceChecks: readonly ReviewCheck[] = [
  transactionIdAge,
  vacuumHeldBack,
  partitionsAhead,
  tablesNeedingVacuum,
  staleStatistics,
  bloatedTables,
  bloatedToast,
  defaultPartitionRows,
  unloggedTables,
  autovacuumParameters,
  hotUpdates,
  unusedTables,
  partitioningCandidates,
];
