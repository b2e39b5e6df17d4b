import type { JobConfig } from "../config/schema.ts";
import type { Session } from "../ports/databases.ts";
import type { ChangeKind } from "./change.ts";
import { type PlanOptions, planInstall } from "./plan.ts";

/** One thing that is not as the configuration says. */
export interface AuditFinding {
  kind: ChangeKind;
  /** "shop_reader has INSERT on shop.orders". */
  reason: string;
  /** The statement that puts it right. */
  sql: string;
  /** Whether `pgkeep roles apply` by the same user would do it. */
  repairable: boolean;
  /** Who may do it, when the user may not. */
  needs?: string;
}

export interface RolesAudit {
  database: string;
  user: string;
  installed: boolean;
  findings: AuditFinding[];
}

/**
 * What differs from the configuration, whoever may change it. Reads only, so a standby will do.
 * @throws PgkeepError `refused`, `newer-schema`
 */
export async function auditRoles(
  session: Session,
  config: JobConfig,
  options: PlanOptions = {},
): Promise<RolesAudit> {
  const plan = await planInstall(session, config, options);
  return {
    database: plan.database,
    user: plan.user,
    installed: plan.schemaVersion.installed !== null,
    findings: [
      ...plan.changes.map(({ kind, reason, sql }) => ({ kind, reason, sql, repairable: true })),
      // An extension that nobody here may create is a wish, not a deviation: `pgkeep install` reports it.
      ...plan.blocked
        .filter((change) => change.attempt !== true)
        .map(({ kind, reason, sql, needs }) => ({
          kind,
          reason,
          sql,
          repairable: false,
          needs,
        })),
    ],
  };
}
