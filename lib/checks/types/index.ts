import type { ReviewCheck } from "../review-check.ts";

export const typeChecks: readonly ReviewCheck[] = [];
