import type { ReviewCheck } from "../review-check.ts";

export const workloadChecks: readonly ReviewCheck[] = [];
