import type { ReviewCheck } from "../review-check.ts";

export const dataChecks: readonly ReviewCheck[] = [];
