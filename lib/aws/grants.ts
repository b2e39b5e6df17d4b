import type { DatabaseRole } from "../ports/databases.ts";
import type { PortName } from "../ports/index.ts";
import type { PlatformResources } from "./resources.ts";

/** One IAM statement as data; the constructs make it a policy. */
export interface GrantStatement {
  sid: string;
  effect?: "Allow" | "Deny";
  actions: string[];
  resources: string[];
  conditions?: Record<string, Record<string, string | string[]>>;
  /** Why a resource is `*` or wider than one object. Required then. */
  reason?: string;
}

/** What a step needs on AWS for one of its ports. */
export interface Grant {
  statements: GrantStatement[];
}

/** Makes the grant of a port; `role` is the database role of the job's database steps. */
export type GrantOf = (resources: PlatformResources, role: DatabaseRole) => Grant;

/** One entry for each port that a step may need: the adapter of the port beside it makes exactly these calls. */
export type Grants = Record<PortName, GrantOf>;
