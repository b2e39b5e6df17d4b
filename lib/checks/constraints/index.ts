import type { ReviewCheck } from "../review-check.ts";

export const constraintChecks: readonly ReviewCheck[] = [];
