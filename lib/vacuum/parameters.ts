import type { Relation } from "./relation.ts";
import type { Reason } from "./triggers.ts";

/** By storage parameter: what is written, and what was there before (null: nothing). */
export type Parameters = Record<string, { set: string; earlier: string | null }>;

/** The lowest that the server takes for autovacuum_freeze_max_age; for multixacts it is a tenth. */
const lowestFreezeMaxAge = 100_000;
const lowestMultixactFreezeMaxAge = 10_000;
/** The trigger is lowered to this share of the counter, so that autovacuum acts now and not again at once. */
const share = 0.9;

/**
 * Storage parameters with which autovacuum takes up a table at once and does not rest while it works: no cost delay,
 * and where no trigger of its own is reached yet, the nearest one lowered. The TOAST table has parameters of its own as soon as it has any.
 */
export function raisedParameters(relation: Relation, reasons: readonly Reason[]): Parameters {
  const parameters: Parameters = {};
  const due = vacuumReasons(reasons);
  const main = due.filter((reason) => reason.toast !== true);
  const toast = due.filter((reason) => reason.toast === true);
  if (main.length > 0 || toast.length === 0) raise(parameters, "", relation.options, main, false);
  if (toast.length > 0 && relation.toast !== null) {
    // Until now it had the triggers of its table.
    const inherits = relation.toast.options === null && relation.options !== null;
    raise(parameters, "toast.", relation.toast.options, toast, inherits);
  }
  return parameters;
}

/** Those that call for VACUUM by autovacuum's own rules. */
export function vacuumReasons(reasons: readonly Reason[]): Reason[] {
  return reasons.filter(
    ({ counter }) => counter !== "changed rows" && counter !== "unknown contents" && counter !== "asked for",
  );
}

function raise(
  parameters: Parameters,
  prefix: "" | "toast.",
  options: readonly string[] | null,
  reasons: readonly Reason[],
  lower: boolean,
): void {
  const set = (name: string, value: string) => {
    const earlier = parameterOf(options, name);
    if (earlier !== value) parameters[`${prefix}${name}`] = { set: value, earlier };
  };
  if (parameterOf(options, "autovacuum_enabled") !== null) set("autovacuum_enabled", "true");
  set("autovacuum_vacuum_cost_delay", "0");
  const [first] = reasons;
  if (first === undefined || (first.ratio >= 1 && !lower)) return;
  const trigger = Math.floor(first.value * share);
  switch (first.counter) {
    case "dead rows":
      set("autovacuum_vacuum_threshold", String(trigger));
      set("autovacuum_vacuum_scale_factor", "0");
      break;
    case "inserted rows":
      set("autovacuum_vacuum_insert_threshold", String(trigger));
      set("autovacuum_vacuum_insert_scale_factor", "0");
      break;
    case "transaction id age":
      set("autovacuum_freeze_max_age", String(Math.max(lowestFreezeMaxAge, trigger)));
      break;
    case "multixact age":
      set("autovacuum_multixact_freeze_max_age", String(Math.max(lowestMultixactFreezeMaxAge, trigger)));
      break;
  }
}

/** The value of one storage parameter in `pg_class.reloptions`. */
export function parameterOf(options: readonly string[] | null, name: string): string | null {
  const found = options?.find((option) => option.startsWith(`${name}=`));
  return found === undefined ? null : found.slice(name.length + 1);
}

/** What puts the earlier values back; what somebody has changed since is left as it is. */
export function restoringParameters(
  parameters: Parameters,
  now: { options: readonly string[] | null; toastOptions: readonly string[] | null },
): Record<string, string | null> {
  const wanted: Record<string, string | null> = {};
  for (const [name, { set, earlier }] of Object.entries(parameters)) {
    const isToast = name.startsWith("toast.");
    const current = parameterOf(isToast ? now.toastOptions : now.options, name.replace(/^toast\./, ""));
    if (current === set) wanted[name] = earlier;
  }
  return wanted;
}

/** `ALTER TABLE … SET (…)` and `RESET (…)` for people and for owners. */
export function alterStatements(
  table: string,
  parameters: Readonly<Record<string, string | null>>,
): string[] {
  const entries = Object.entries(parameters);
  const set = entries.filter(([, value]) => value !== null);
  const reset = entries.filter(([, value]) => value === null);
  return [
    ...(set.length === 0
      ? []
      : [
          `ALTER TABLE ${table} SET (${set.map(([name, value]) => `${name} = ${quoted(value as string)}`).join(", ")})`,
        ]),
    ...(reset.length === 0 ? [] : [`ALTER TABLE ${table} RESET (${reset.map(([name]) => name).join(", ")})`]),
  ];
}

function quoted(value: string): string {
  return /^(?:true|false|-?\d+(?:\.\d+)?)$/.test(value) ? value : `'${value.replaceAll("'", "''")}'`;
}
