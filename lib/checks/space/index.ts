import type { ReviewCheck } from "../review-check.ts";
import { bloatedTables } from "./bloated-tables.ts";
import { bloatedToast } from "./bloated-toast.ts";
import { staleStatistics } from "./stale-statistics.ts";
import { tablesNeedingVacuum } from "./tables-needing-vacuum.ts";
import { transactionIdAge } from "./transaction-id-age.ts";
import { vacuumHeldBack } from "./vacuum-held-back.ts";

export const spaceChecks: readonly ReviewCheck[] = [
  transactionIdAge,
  vacuumHeldBack,
  tablesNeedingVacuum,
  staleStatistics,
  bloatedTables,
  bloatedToast,
];
