export { applyInstall, type InstallOptions, type InstallReport } from "./apply.ts";
export { type AuditFinding, auditRoles, type RolesAudit } from "./audit.ts";
export type { BlockedChange, Change, ChangeKind } from "./change.ts";
export { type InstallPlan, type PlanOptions, planInstall } from "./plan.ts";
export { type RoleNames, roleNames } from "./role-names.ts";
export { readSchemaVersion, requireSchema } from "./schema-version.ts";
export { scramVerifier } from "./scram.ts";
