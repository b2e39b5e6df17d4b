import { ageFault, multixactIds } from "./age-ids.ts";

/** 56 % of the way to the end; autovacuum begins at 400 million. */
const age = 1_200_000_000;

export const ageMultixactIds = ageFault(
  { fault: "age-multixact-ids", kind: multixactIds, age },
  {
    alarms: ["multixact-ids-high", "wraparound-overdue"],
    summary:
      "leave a session alone with a temporary table whose multixact ids are 1.2 billion old: autovacuum cannot freeze it, and AWS has no metric for them",
  },
);
