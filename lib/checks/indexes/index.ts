import type { ReviewCheck } from "../review-check.ts";
import { bloatedIndexes } from "./bloated-indexes.ts";
import { duplicateIndexes } from "./duplicate-indexes.ts";
import { foreignKeysWithoutIndex } from "./foreign-keys-without-index.ts";
import { invalidIndexes } from "./invalid-indexes.ts";
import { overIndexedTables } from "./over-indexed-tables.ts";
import { partialIndexCandidates } from "./partial-index-candidates.ts";
import { redundantIndexes } from "./redundant-indexes.ts";
import { sequentialScans } from "./sequential-scans.ts";
import { unusedIndexes } from "./unused-indexes.ts";

export const indexChecks: readonly ReviewCheck[] = [
  invalidIndexes,
  foreignKeysWithoutIndex,
  sequentialScans,
  duplicateIndexes,
  redundantIndexes,
  unusedIndexes,
  partialIndexCandidates,
  overIndexedTables,
  bloatedIndexes,
];
