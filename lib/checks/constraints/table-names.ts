/**
 * The names that a table has whose rows something called `stem` refers to: `user` → user, users; `category` →
 * category, categories; `box` → box, boxes. English, as most schemas are; another language finds nothing.
 */
export function tableNames(stem: string): string[] {
  const names = [stem, `${stem}s`, `${stem}es`];
  if (/[^aeiou]y$/.test(stem)) names.push(`${stem.slice(0, -1)}ies`);
  if (stem.endsWith("person")) names.push(`${stem.slice(0, -6)}people`);
  if (stem.endsWith("child")) names.push(`${stem}ren`);
  return names;
}

export interface Reference {
  /** What the column refers to, lower case: `customer` of `customer_id` and `customerId`. */
  stem: string;
  /** The key column's name there: `id`. */
  key: string;
}

/** Reads a column's name as `<stem>_<key>` or `<stem><Key>`; undefined when it is not of that form. */
export function referenceIn(column: string): Reference | undefined {
  const match = /^(.+)_(id|uuid|guid|code|key|no|number)$/.exec(column.toLowerCase());
  if (match !== null) return { stem: match[1] as string, key: match[2] as string };
  const camel = /^([a-z][A-Za-z0-9]*)(Id|Uuid|Code)$/.exec(column);
  if (camel === null) return undefined;
  const stem = (camel[1] as string).replaceAll(/([A-Z])/g, "_$1").toLowerCase();
  return { stem, key: (camel[2] as string).toLowerCase() };
}

/** Copies and traces outlive what they are of: no foreign key is missing there. */
const traces =
  /(?:^|_)(?:logs?|audits?|history|histories|archived?|archives|staging|stage|imports?|exports?|te?mp|backups?|bak|old|snapshots?|outbox)(?:_|\d|$)/i;

export function isTrace(table: string): boolean {
  return traces.test(table);
}
