import type { ReviewCheck } from "../review-check.ts";
import { missingIndexes } from "./missing-indexes.ts";
import { slowStatements } from "./slow-statements.ts";

export const workloadChecks: readonly ReviewCheck[] = [slowStatements, missingIndexes];
