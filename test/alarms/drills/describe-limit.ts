import type { AlarmDefinition } from "../../../lib/alarms/alarm.ts";
import type { Drill } from "./drill.ts";

/** What a drill lowers, in words; empty when everything is as the catalogue has it. */
export function describeLimit(
  { lowers = {}, limit, without = [] }: Drill,
  unit: AlarmDefinition["unit"],
): string {
  const settings = Object.entries(lowers).map(([path, value]) => `\`${path}: ${value}\``);
  const own = limit === undefined ? [] : [`the limit itself: ${limit} ${unit}`];
  const left = without.length === 0 ? [] : [`without ${without.join(", ")}`];
  return [...settings, ...own, ...left].join(", ");
}
