import type { ReviewCheck } from "../review-check.ts";
import { checkCandidates } from "./check-candidates.ts";
import { foreignKeyTypes } from "./foreign-key-types.ts";
import { missingForeignKeys } from "./missing-foreign-keys.ts";
import { notEnforcedConstraints } from "./not-enforced-constraints.ts";
import { notValidConstraints } from "./not-valid-constraints.ts";
import { nullableNeverNull } from "./nullable-never-null.ts";
import { tablesWithoutPrimaryKey } from "./tables-without-primary-key.ts";
import { uniqueCandidates } from "./unique-candidates.ts";

export const constraintChecks: readonly ReviewCheck[] = [
  tablesWithoutPrimaryKey,
  notEnforcedConstraints,
  notValidConstraints,
  foreignKeyTypes,
  missingForeignKeys,
  nullableNeverNull,
  uniqueCandidates,
  checkCandidates,
];
