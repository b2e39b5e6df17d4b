import { jobRoleNames } from "../install/role-names.ts";
import type { DatabaseRole } from "../ports/databases.ts";
import type { PortName } from "../ports/index.ts";
import { backupStatements, jobBackupCalls } from "./grants-backups.ts";
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

/**
 * Makes the grant of a port; `role` is the database role of the job's database steps. `calls` are the port's
 * functions that the step calls, where it says so; by default all that jobs call.
 */
export type GrantOf = (resources: PlatformResources, role: DatabaseRole, calls?: readonly string[]) => Grant;

/** One entry for each port that a step may need: the adapter of the port beside it makes exactly these calls. */
export type Grants = Record<PortName, GrantOf>;

/** What the adapters of lib/aws call. */
export const grants: Grants = {
  primary: (resources, role) => logins("LogIn", resources, primaryIds(resources), role),
  replicas: (resources, role) => logins("LogInToReplicas", resources, replicaIds(resources), role),
  restored: restoredLogins,
  backups: (resources, _, calls = jobBackupCalls) => ({ statements: backupStatements(resources, calls) }),
  routing: (resources) => ({ statements: routingStatements(resources) }),
};

/** The servers of a cluster share its id; of instances, each has its own. */
const primaryIds = ({ resourceIds }: PlatformResources) => resourceIds.slice(0, 1);
const replicaIds = ({ topology, resourceIds }: PlatformResources) =>
  topology === "instance" ? resourceIds.slice(1) : resourceIds;

/** Logging in to servers of the database, as one role. */
function logins(sid: string, resources: PlatformResources, ids: string[], role: DatabaseRole): Grant {
  const { partition, region, account } = resources;
  if (ids.length === 0) return { statements: [] };
  return {
    statements: [
      {
        sid,
        actions: ["rds-db:connect"],
        resources: ids.map(
          (id) => `arn:${partition}:rds-db:${region}:${account}:dbuser:${id}/${jobRoleNames[role]}`,
        ),
      },
    ],
  };
}

/** Only the drill's own role logs in to what was restored. */
function restoredLogins(resources: PlatformResources, role: DatabaseRole): Grant {
  if (role !== "drill") return { statements: [] };
  const { partition, region, account } = resources;
  return {
    statements: [
      {
        sid: "LogInToRestored",
        actions: ["rds-db:connect"],
        resources: [`arn:${partition}:rds-db:${region}:${account}:dbuser:*/${jobRoleNames.drill}`],
        reason: "a restored instance gets a resource id that nobody knows before",
      },
    ],
  };
}

function routingStatements(resources: PlatformResources): GrantStatement[] {
  const { partition, region, account, routingParameterName, readerDns } = resources;
  const parameter = `arn:${partition}:ssm:${region}:${account}:parameter${routingParameterName}`;
  const versions = `${parameter}/versions/*`;
  const eachVersion = "the versions of one parameter have numbers for names";
  const statements: GrantStatement[] = [
    { sid: "ReadRouting", actions: ["ssm:GetParameter"], resources: [parameter] },
    { sid: "ReadVersions", actions: ["ssm:GetParameters"], resources: [versions], reason: eachVersion },
    {
      sid: "ListVersions",
      actions: ["ssm:GetParametersByPath"],
      resources: [`${parameter}/versions`],
    },
    {
      sid: "PublishRouting",
      actions: ["ssm:PutParameter"],
      resources: [parameter, versions],
      reason: eachVersion,
    },
    {
      sid: "NeverOverwriteVersions",
      effect: "Deny",
      actions: ["ssm:PutParameter"],
      resources: [versions],
      conditions: { StringEquals: { "ssm:Overwrite": "true" } },
      reason: eachVersion,
    },
    {
      sid: "ForgetOldVersions",
      actions: ["ssm:DeleteParameters"],
      resources: [versions],
      reason: eachVersion,
    },
  ];
  if (readerDns === undefined) return statements;
  const zone = `arn:${partition}:route53:::hostedzone/${readerDns.hostedZoneId}`;
  return [
    ...statements,
    { sid: "ReadReaderRecords", actions: ["route53:ListResourceRecordSets"], resources: [zone] },
    {
      sid: "PublishReaderRecords",
      actions: ["route53:ChangeResourceRecordSets"],
      resources: [zone],
      conditions: {
        "ForAllValues:StringEquals": {
          "route53:ChangeResourceRecordSetsNormalizedRecordNames": [readerDns.recordName],
          "route53:ChangeResourceRecordSetsRecordTypes": ["CNAME"],
          "route53:ChangeResourceRecordSetsActions": ["DELETE", "UPSERT"],
        },
      },
    },
  ];
}
