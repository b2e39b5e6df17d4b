import { App, Stack } from "aws-cdk-lib";
import { Role, ServicePrincipal } from "aws-cdk-lib/aws-iam";
// From the npm package: "pgkeep/config" and "pgkeep/constructs".
import { parseConfig } from "../../lib/config/load.ts";
import { IsolatedNetwork, PoolingProxy, PostgresDatabase } from "../../lib/constructs/index.ts";

/** An app of a team's own: one database in a stack beside whatever else they have, and none of pgkeep's stacks. */
export function ownApp(outdir: string): App {
  const app = new App({ outdir });
  const stack = new Stack(app, "orders");
  const config = parseConfig(
    "{ database: { name: orders, storageGigabytes: 50 }, roles: { logins: iam } }",
    "in the code",
  );
  const [database] = config.databases;
  if (database === undefined) throw new Error("the configuration has no database");
  const network = new IsolatedNetwork(stack, "Network", { config: config.network });
  const orders = new PostgresDatabase(stack, "Orders", { config: database, network });
  // Applications get this security group: the database admits it, and nobody else but its own jobs.
  stack.exportValue(orders.applicationSecurityGroup.securityGroupId, { name: "orders-clients" });
  // An application of theirs logs in through the proxy by IAM, as the one role and no other.
  const proxy = new PoolingProxy(stack, "Proxy", { platform: orders });
  const service = new Role(stack, "Service", { assumedBy: new ServicePrincipal("ecs-tasks.amazonaws.com") });
  proxy.grantConnect(service, "app");
  // Directly, where transactions are no way to share connections: to the writer and each replica.
  orders.grantConnect(service, "reporting");
  return app;
}
