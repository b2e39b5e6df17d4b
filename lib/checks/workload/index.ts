import type { ReviewCheck } from "../review-check.ts";
import { slowStatements } from "./slow-statements.ts";

export const workloadChecks: readonly ReviewCheck[] = [slowStatements];
