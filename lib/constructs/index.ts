/** What a CDK app of another team builds with; the classes say what each needs. */
export { DatabaseAccess } from "./access.ts";
export { Alarms } from "./alarms.ts";
export { functionCode, stepCode } from "./bundle.ts";
export { ValkeyCache } from "./cache.ts";
export { StatusDashboard } from "./dashboard.ts";
export { PostgresDatabase } from "./database.ts";
export { DumpTask } from "./dump-task.ts";
export { FilesBucket } from "./files-bucket.ts";
export { ScheduledJob } from "./job.ts";
export { IsolatedNetwork, IsolatedSubnets } from "./network.ts";
export { PoolingProxy } from "./proxy.ts";
export { RecoveryReplica } from "./recovery-replica.ts";
export { Topics } from "./topics.ts";
