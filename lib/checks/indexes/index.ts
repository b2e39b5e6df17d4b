import type { ReviewCheck } from "../review-check.ts";
import { duplicateIndexes } from "./duplicate-indexes.ts";
import { foreignKeysWithoutIndex } from "./foreign-keys-without-index.ts";
import { redundantIndexes } from "./redundant-indexes.ts";

export const indexChecks: readonly ReviewCheck[] = [
  foreignKeysWithoutIndex,
  duplicateIndexes,
  redundantIndexes,
];
