import type { ReviewCheck } from "../review-check.ts";

export const spaceChecks: readonly ReviewCheck[] = [];
