import type { ReviewCheck } from "../review-check.ts";
import { checksumFailures } from "./checksum-failures.ts";
import { collationVersions } from "./collation-versions.ts";
import { damagedObjects } from "./damaged-objects.ts";
import { duplicateValues } from "./duplicate-values.ts";
import { orphanedReferences } from "./orphaned-references.ts";
import { sequencesBehind } from "./sequences-behind.ts";
import { valuesOutsideSet } from "./values-outside-set.ts";

export const dataChecks: readonly ReviewCheck[] = [
  damagedObjects,
  checksumFailures,
  collationVersions,
  sequencesBehind,
  orphanedReferences,
  duplicateValues,
  valuesOutsideSet,
];
