import type { ReviewCheck } from "../review-check.ts";

export const securityChecks: readonly ReviewCheck[] = [];
