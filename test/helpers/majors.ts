import { type PostgresMajor, supportedMajors } from "../../lib/postgres/versions.ts";

/** 14–18, or those that PGKEEP_TEST_POSTGRES selects (`17` or `14,18`). */
export const allMajors: PostgresMajor[] = selectedMajors(process.env.PGKEEP_TEST_POSTGRES);
/** 17, or the first selected. */
export const defaultMajor: PostgresMajor = allMajors.includes(17) ? 17 : (allMajors[0] as PostgresMajor);
/** Where versions in between cannot behave otherwise than these two. */
export const oldestAndNewest: PostgresMajor[] = [
  ...new Set([allMajors[0] as PostgresMajor, allMajors.at(-1) as PostgresMajor]),
];

function selectedMajors(text: string | undefined): PostgresMajor[] {
  if (text === undefined || text.trim() === "") return [...supportedMajors];
  const wanted = text.split(",").map(Number);
  const unknown = wanted.filter((major) => !supportedMajors.includes(major as PostgresMajor));
  if (unknown.length > 0) throw new Error(`PGKEEP_TEST_POSTGRES=${text}: choose among ${supportedMajors}`);
  return wanted as PostgresMajor[];
}
