/** The stacks, for a CDK app that takes all or some of them. */
export { AccessStack } from "./access.ts";
export { acknowledgeFindings } from "./acknowledged.ts";
export { addStacks, buildApp } from "./app.ts";
export { CacheStack } from "./cache.ts";
export { DatabaseStack } from "./database.ts";
export { DumpsStack } from "./dumps.ts";
export { FilesStack } from "./files.ts";
export { MaintenanceStack } from "./maintenance.ts";
export { NetworkStack } from "./network.ts";
export { ObservabilityStack } from "./observability.ts";
