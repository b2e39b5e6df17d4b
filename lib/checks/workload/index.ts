import type { ReviewCheck } from "../review-check.ts";
import { cartesianJoins } from "./cartesian-joins.ts";
import { coveringIndexCandidates } from "./covering-index-candidates.ts";
import { deepOffset } from "./deep-offset.ts";
import { implicitCasts } from "./implicit-casts.ts";
import { jsonPathFilters } from "./json-path-filters.ts";
import { leadingWildcardLike } from "./leading-wildcard-like.ts";
import { missingIndexes } from "./missing-indexes.ts";
import { nPlusOne } from "./n-plus-one.ts";
import { nonSargablePredicates } from "./non-sargable-predicates.ts";
import { oneRowWrites } from "./one-row-writes.ts";
import { repeatedLookups } from "./repeated-lookups.ts";
import { selectStar } from "./select-star.ts";
import { slowStatements } from "./slow-statements.ts";
import { statementsEvicted } from "./statements-evicted.ts";
import { unboundedResults } from "./unbounded-results.ts";

export const workloadChecks: readonly ReviewCheck[] = [
  slowStatements,
  missingIndexes,
  coveringIndexCandidates,
  nonSargablePredicates,
  implicitCasts,
  leadingWildcardLike,
  jsonPathFilters,
  cartesianJoins,
  deepOffset,
  unboundedResults,
  selectStar,
  nPlusOne,
  repeatedLookups,
  oneRowWrites,
  statementsEvicted,
];
