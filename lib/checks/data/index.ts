import type { ReviewCheck } from "../review-check.ts";
import { checksumFailures } from "./checksum-failures.ts";
import { collationVersions } from "./collation-versions.ts";
import { damagedObjects } from "./damaged-objects.ts";
import { sequencesBehind } from "./sequences-behind.ts";

export const dataChecks: readonly ReviewCheck[] = [
  damagedObjects,
  checksumFailures,
  collationVersions,
  sequencesBehind,
];
