import type { ReviewCheck } from "../review-check.ts";
import { foreignKeyTypes } from "./foreign-key-types.ts";
import { notEnforcedConstraints } from "./not-enforced-constraints.ts";
import { notValidConstraints } from "./not-valid-constraints.ts";
import { tablesWithoutPrimaryKey } from "./tables-without-primary-key.ts";

export const constraintChecks: readonly ReviewCheck[] = [
  tablesWithoutPrimaryKey,
  notEnforcedConstraints,
  notValidConstraints,
  foreignKeyTypes,
];
