import { ArnFormat, Stack } from "aws-cdk-lib";
import * as iam from "aws-cdk-lib/aws-iam";
import type { IConstruct } from "constructs";

/** What `rds-db:connect` names: a user of PostgreSQL on one instance, cluster or proxy, by its resource id. */
export function databaseUserArn(scope: IConstruct, resourceId: string, user: string): string {
  return Stack.of(scope).formatArn({
    service: "rds-db",
    resource: "dbuser",
    resourceName: `${resourceId}/${user}`,
    arnFormat: ArnFormat.COLON_RESOURCE_NAME,
  });
}

/** Lets somebody log in by IAM as one user, on the given instances, clusters or proxies and nowhere else. */
export function grantConnect(
  scope: IConstruct,
  grantee: iam.IGrantable,
  resourceIds: readonly string[],
  user: string,
): iam.Grant {
  return iam.Grant.addToPrincipal({
    grantee,
    actions: ["rds-db:connect"],
    resourceArns: resourceIds.map((resourceId) => databaseUserArn(scope, resourceId, user)),
  });
}
