import { constraintChecks } from "./constraints/index.ts";
import { dataChecks } from "./data/index.ts";
import { indexChecks } from "./indexes/index.ts";
import type { ReviewCheck } from "./review-check.ts";
import { securityChecks } from "./security/index.ts";
import { settingsChecks } from "./settings/index.ts";
import { spaceChecks } from "./space/index.ts";
import { typeChecks } from "./types/index.ts";
import { workloadChecks } from "./workload/index.ts";

/** What a review asks, each check in the folder of its area. */
export const reviewChecks: readonly ReviewCheck[] = [
  ...dataChecks,
  ...securityChecks,
  ...constraintChecks,
  ...typeChecks,
  ...indexChecks,
  ...workloadChecks,
  ...spaceChecks,
  ...settingsChecks,
];
