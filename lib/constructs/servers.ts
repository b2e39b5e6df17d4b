import type { CfnDBCluster, CfnDBInstance } from "aws-cdk-lib/aws-rds";
import type { ServerResource } from "../aws/resources.ts";
import type { MetricDimensions } from "./platform.ts";

/** What each topology makes of a configuration. */
export interface Servers {
  primary: ServerResource;
  replicas: ServerResource[];
  /** What `rds-db:connect` names. */
  resourceIds: string[];
  parameterGroupName: string;
  metricDimensions: Omit<MetricDimensions, "proxy">;
  /** What a proxy serves, and the master secret belongs to. */
  data: { kind: "instance"; resource: CfnDBInstance } | { kind: "cluster"; resource: CfnDBCluster };
}
