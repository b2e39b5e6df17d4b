import { identifier, literal } from "../../postgres/identifiers.ts";
import type { ReviewContext, ReviewFinding } from "../review-check.ts";

export interface Setting {
  name: string;
  /** What a new session of this login gets, in the setting's own unit: the review's own limits do not count. */
  value: string;
  unit: string | null;
  type: "bool" | "integer" | "real" | "string" | "enum";
  /** Without a configuration. */
  bootValue: string | null;
  /** Takes effect only when the server starts. */
  needsRestart: boolean;
  pendingRestart: boolean;
}

/** Which settings a service lets its customers change, and where. */
export type Platform = "self-managed" | "rds" | "azure" | "google" | "supabase";

export interface ServerSettings {
  platform: Platform;
  byName: ReadonlyMap<string, Setting>;
  /** Undefined for one that this version does not have or this role may not see. */
  text(name: string): string | undefined;
  /** NaN for one that is not there. In the setting's own unit. */
  number(name: string): number;
  /** A size in bytes; NaN for one that is not there. */
  bytes(name: string): number;
  isOn(name: string): boolean;
  isOff(name: string): boolean;
}

const unitBytes: Record<string, number> = {
  B: 1,
  kB: 1024,
  "8kB": 8192,
  MB: 1024 ** 2,
  "16MB": 16 * 1024 ** 2,
};

/** The server's settings, read once for all checks of a review. */
export function readSettings(context: ReviewContext): Promise<ServerSettings> {
  return context.once("settings", async () => {
    const rows = await context.session.query<Setting>(
      `select name, reset_val as value, unit, vartype as type, boot_val as "bootValue",
              context = 'postmaster' as "needsRestart", pending_restart as "pendingRestart"
         from pg_settings`,
    );
    const [who] = await context.session.query<{ platform: Platform }>(
      `select case when 'rds_superuser' = any (names) then 'rds' when 'azure_pg_admin' = any (names) then 'azure'
                   when 'cloudsqlsuperuser' = any (names) then 'google'
                   when 'supabase_admin' = any (names) then 'supabase' else 'self-managed' end as platform
         from (select array_agg(rolname::text) as names from pg_roles) r`,
    );
    const byName = new Map(rows.map((row) => [row.name, row]));
    const number = (name: string) => Number(byName.get(name)?.value ?? Number.NaN);
    return {
      platform: who?.platform ?? "self-managed",
      byName,
      text: (name) => byName.get(name)?.value,
      number,
      bytes: (name) => number(name) * (unitBytes[byName.get(name)?.unit ?? "B"] ?? Number.NaN),
      isOn: (name) => byName.get(name)?.value === "on",
      isOff: (name) => byName.get(name)?.value === "off",
    };
  });
}

const places: Record<Exclude<Platform, "self-managed">, string> = {
  rds: "the DB parameter group of the instance",
  azure: "the server parameters of the flexible server",
  google: "the database flags of the instance",
  supabase: "the project's database settings",
};

/** How to give a setting a value on this platform, and back. */
export function change(settings: ServerSettings, name: string, value: string): ReviewFinding["remediation"] {
  const setting = settings.byName.get(name);
  const restart = setting?.needsRestart === true;
  if (settings.platform !== "self-managed") {
    const where = places[settings.platform];
    return {
      sql: `-- In ${where}: ${name} = ${value}${restart ? " (takes effect at the next restart)" : ""}`,
      lock: restart ? "none, but a restart" : "none",
      rollback: `set ${name} = ${setting?.value ?? "its former value"} there`,
    };
  }
  return {
    sql: `ALTER SYSTEM SET ${identifier(name)} = ${literal(value)};${restart ? " -- then restart the server" : "\nSELECT pg_reload_conf();"}`,
    lock: restart ? "none, but a restart" : "none",
    rollback: `ALTER SYSTEM SET ${identifier(name)} = ${literal(setting?.value ?? "")}; ${restart ? "and a restart" : "SELECT pg_reload_conf();"}`,
  };
}

/** A setting's value as `SHOW` would write it. */
export function shown(setting: Setting | undefined): string {
  if (setting === undefined) return "unknown";
  const { value, unit } = setting;
  if (unit === null || value === "-1" || value === "0") return value;
  const blocks = /^(\d+)(kB|MB)$/.exec(unit);
  return blocks === null ? `${value}${unit}` : `${Number(value) * Number(blocks[1])}${blocks[2]}`;
}

/** What is wrong with one setting; `wanted` is the value that mends it. */
export interface SettingFault
  extends Pick<ReviewFinding, "severity" | "confidence" | "title" | "impact" | "rootCause" | "prevention"> {
  name: string;
  wanted: string;
  blastRadius?: string;
  evidence?: ReviewFinding["evidence"];
}

export function settingFinding(check: string, settings: ServerSettings, fault: SettingFault): ReviewFinding {
  const { name, wanted, evidence, blastRadius, ...said } = fault;
  const setting = settings.byName.get(name);
  return {
    check,
    key: `${check}/${name}`,
    ...said,
    object: { name },
    evidence: { value: shown(setting), default: setting?.bootValue ?? null, wanted, ...evidence },
    blastRadius: blastRadius ?? "every database of this server",
    remediation: change(settings, name, wanted),
    effort: setting?.needsRestart === true ? "hours" : "minutes",
  };
}
