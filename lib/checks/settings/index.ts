import type { ReviewCheck } from "../review-check.ts";

export const settingsChecks: readonly ReviewCheck[] = [];
