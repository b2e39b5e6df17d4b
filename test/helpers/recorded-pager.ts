import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { pageHandler } from "../../lambdas/page.ts";
import { awsClients } from "../../lib/aws/clients.ts";
import { awsDatabases } from "../../lib/aws/databases.ts";
import { snsNotifications } from "../../lib/aws/notifications.ts";
import { pagerCalls } from "../../lib/aws/pager.ts";
import { environmentNames, type PlatformResources } from "../../lib/aws/resources.ts";
import { type LookedAt, lookFor } from "../../lib/jobs/explain-alarm.ts";
import { makeAlarm } from "../sandbox/alarms/make-alarm.ts";
import { recordCalls } from "./aws-calls.ts";
import { configFor } from "./config.ts";
import { motoCredentials } from "./moto.ts";
import type { CloudCall, DeployedFunction } from "./permissions.ts";
import { context, distinct, type Surroundings, tokenOfTest, within } from "./recorded-runs.ts";

/**
 * Runs the functions that alarms are told by, with their deployed environment, and gives what AWS would ask IAM: for
 * calls, which nobody answers here, and for logins to databases.
 */
export async function recordedPagerCalls(
  { environment }: DeployedFunction,
  surroundings: Pick<Surroundings, "portOf" | "certificateAuthority">,
): Promise<CloudCall[]> {
  const resources = JSON.parse(environment[environmentNames.resources] ?? "{}") as PlatformResources;
  const lookFunction = environment[environmentNames.lookFunction];
  return distinct(
    lookFunction === undefined ? await look(resources, surroundings) : await page(resources, lookFunction),
  );
}

/** Logs in to the primary, and to each replica that an alarm is about. */
async function look(
  deployed: PlatformResources,
  { portOf, certificateAuthority }: Pick<Surroundings, "portOf" | "certificateAuthority">,
): Promise<CloudCall[]> {
  const { partition, region, account, resourceIds } = deployed;
  const servers = [deployed.primary, ...deployed.replicas];
  const calls: CloudCall[] = [];
  const reachable = <Server extends { name: string }>(server: Server) => ({
    ...server,
    host: "localhost",
    port: portOf(server.name),
  });
  const ports = awsDatabases(
    { ...deployed, primary: reachable(deployed.primary), replicas: deployed.replicas.map(reachable) },
    {
      token: async ({ port, user }) => {
        const index = servers.findIndex(({ name }) => portOf(name) === port);
        // Members of a cluster share its id.
        const id = resourceIds[index] ?? resourceIds[0];
        const resource = `arn:${partition}:rds-db:${region}:${account}:dbuser:${id}/${user}`;
        calls.push({ action: "rds-db:connect", resource });
        return tokenOfTest;
      },
      certificateAuthorities: certificateAuthority,
    },
  );
  const subjects = [undefined, ...deployed.replicas.map(({ name }) => ({ kind: "replica", name }) as const)];
  for (const subject of subjects) {
    const about = {
      entry: "replica-lag",
      look: ["replication"],
      ...(subject === undefined ? {} : { subject }),
    };
    await lookFor(ports, configFor("shop"), about as LookedAt);
  }
  return calls;
}

/** Asks for a look, reads the value behind a composite alarm, and tells a page and a ticket. */
async function page(deployed: PlatformResources, lookFunction: string): Promise<CloudCall[]> {
  const { calls, record } = recordCalls();
  const answers = createServer((_, response) => response.end("{}"));
  await new Promise<void>((resolve) => answers.listen(0, "127.0.0.1", resolve));
  const endpoint = `http://127.0.0.1:${(answers.address() as AddressInfo).port}`;
  const options = { region: deployed.region, endpoint, credentials: motoCredentials };
  const clients = awsClients({ ...options, maxAttempts: 1, configure: record });
  const alarms = (["page", "ticket"] as const).map((severity) =>
    makeAlarm({ name: severity, severity, look: ["statements"] }),
  );
  const handler = within({ POWERTOOLS_LOG_LEVEL: "SILENT" }, () =>
    pageHandler({ config: { ...configFor("shop"), key: "shop" }, alarms, runbook: "runbook" }, () => ({
      ...pagerCalls({ ...options, lookFunction, configure: record as never }),
      notifications: snsNotifications(clients, deployed),
    })),
  );
  const state = { value: "ALARM", reason: "", timestamp: "2026-11-21T18:03:15.490+0000" };
  for (const { name } of alarms) {
    await handler({ alarmData: { alarmName: `pgkeep-shop-${name}-unexplained`, state } }, context).catch(
      () => {},
    );
  }
  clients.close();
  answers.closeAllConnections();
  answers.close();
  const account = lookFunction.split(":")[4];
  return calls.map(({ action, region, input }): CloudCall => {
    if (action === "lambda:Invoke")
      return { action: "lambda:InvokeFunction", resource: String(input.FunctionName) };
    if (action === "sns:Publish") return { action, resource: String(input.TopicArn) };
    const [alarm] = input.AlarmNames as string[];
    return { action, resource: `arn:aws:cloudwatch:${region}:${account}:alarm:${alarm}` };
  });
}
