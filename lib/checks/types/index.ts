import type { ReviewCheck } from "../review-check.ts";
import { columnTypeChecks } from "./column-types.ts";
import { jsonStructure } from "./json-structure.ts";
import { keysRunningOut } from "./keys-running-out.ts";
import { serialColumns } from "./serial-columns.ts";
import { valuesOfAnotherType } from "./values-of-another-type.ts";

export const typeChecks: readonly ReviewCheck[] = [
  keysRunningOut,
  ...columnTypeChecks,
  jsonStructure,
  valuesOfAnotherType,
  serialColumns,
];
