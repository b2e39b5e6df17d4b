import type { ReviewCheck } from "../review-check.ts";

export const indexChecks: readonly ReviewCheck[] = [];
