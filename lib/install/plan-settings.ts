import { identifier, literal } from "../postgres/identifiers.ts";
import type { ActualRole, ActualState } from "./actual.ts";
import { administrator } from "./administrator.ts";
import type { Change } from "./change.ts";
import type { DesiredRole } from "./desired.ts";
import { sameSetting } from "./settings.ts";

/** `ALTER ROLE … SET`: what each role's sessions begin with. */
export function planSettings(
  role: DesiredRole,
  found: ActualRole | undefined,
  actual: ActualState,
): Change[] {
  const changes: Change[] = [];
  const set = actual.settings.filter((setting) => setting.role === role.name);
  const needs = found === undefined ? undefined : administrator(found, actual);
  const change = (clause: string, inDatabase: boolean, reason: string, result: string) =>
    changes.push({
      kind: found === undefined ? "create" : "repair",
      sql: `ALTER ROLE ${identifier(role.name)}${inDatabase ? ` IN DATABASE ${identifier(actual.databaseName)}` : ""} ${clause}`,
      reason,
      result,
      required: false,
      ...(needs === undefined ? {} : { needs }),
    });
  const place = (inDatabase: boolean) => (inDatabase ? ` in database ${actual.databaseName}` : "");
  for (const [inDatabase, wanted] of [
    [false, role.settings],
    [true, role.databaseSettings],
  ] as const) {
    for (const [name, value] of Object.entries(wanted)) {
      const now = set.find((setting) => setting.name === name && setting.inDatabase === inDatabase);
      if (now !== undefined && sameSetting(name, now.value, value)) continue;
      const was = now?.value ?? "not set";
      change(
        `SET ${name} = ${literal(value).trim()}`,
        inDatabase,
        `${name} of ${role.name}${place(inDatabase)} is ${was} instead of ${value}`,
        found === undefined
          ? `${name} of ${role.name}${place(inDatabase)}: set to ${value}`
          : `${name} of ${role.name}${place(inDatabase)} was ${was}: set to ${value}`,
      );
    }
  }
  // A setting for this database alone would win over the role's own.
  for (const setting of set) {
    const { name, value, inDatabase } = setting;
    const overrides =
      inDatabase && name in role.settings && !sameSetting(name, value, role.settings[name] as string);
    const stray = name === "role" && !(inDatabase && name in role.databaseSettings);
    if (!overrides && !stray) continue;
    change(
      `RESET ${name}`,
      inDatabase,
      `${name} of ${role.name}${place(inDatabase)} is ${value}`,
      `${name} of ${role.name}${place(inDatabase)} was ${value}: reset`,
    );
  }
  return changes;
}
