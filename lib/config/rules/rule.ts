import type { Config, DatabaseConfig } from "../schema.ts";

export interface RuleContext {
  config: Config;
  now: Date;
}

/** What a rule found: where, and what to change. */
export interface RuleFinding {
  severity: "error" | "warning";
  /** Key of the database; absent for what concerns the file as a whole. */
  database?: string;
  /** The setting to point at, below the database or the file: `replicas.maxLagSeconds`. */
  path: string;
  /** Other settings that took part: when one of them is itself wrong, the finding is not shown. */
  others?: readonly string[];
  message: string;
}

/** A demand on several settings together. */
export interface Rule {
  /** Stable, kebab-case. */
  name: string;
  /** For the reference: what must hold. */
  demand: string;
  /** Where the demand comes from. */
  source: string;
  check(context: RuleContext): RuleFinding[];
}

/** A rule about each database by itself. */
export function databaseRule(
  rule: Omit<Rule, "check"> & {
    check(database: DatabaseConfig, now: Date): readonly Omit<RuleFinding, "database">[];
  },
): Rule {
  return {
    ...rule,
    check: ({ config, now }) =>
      config.databases.flatMap((database) =>
        rule.check(database, now).map((finding) => ({ ...finding, database: database.key })),
      ),
  };
}

export const error = (path: string, message: string, others: readonly string[] = []) =>
  ({ severity: "error", path, message, others }) as const;

export const warning = (path: string, message: string, others: readonly string[] = []) =>
  ({ severity: "warning", path, message, others }) as const;
