import {
  DescribeDBClustersCommand,
  paginateDescribeDBInstanceAutomatedBackups,
  type RDSClient,
} from "@aws-sdk/client-rds";
import type { RecoveryWindow } from "../ports/backups.ts";
import { calling } from "./errors.ts";
import type { PlatformResources } from "./resources.ts";

/** Which moments AWS can restore to now; undefined when automated backups are off or have not begun. */
export function recoveryWindow(
  client: RDSClient,
  resources: PlatformResources,
): Promise<RecoveryWindow | undefined> {
  const { identifier } = resources.primary;
  return calling(`read the recovery window of ${identifier}`, () =>
    resources.topology === "instance" ? ofInstance(client, identifier) : ofCluster(client, identifier),
  );
}

async function ofInstance(client: RDSClient, identifier: string): Promise<RecoveryWindow | undefined> {
  const pages = paginateDescribeDBInstanceAutomatedBackups({ client }, { DBInstanceIdentifier: identifier });
  for await (const page of pages) {
    // A deleted instance of the same name may have left one, with the status `retained`.
    for (const backup of page.DBInstanceAutomatedBackups ?? []) {
      const { EarliestTime: earliest, LatestTime: latest } = backup.RestoreWindow ?? {};
      if (backup.Status !== "active" || earliest === undefined || latest === undefined) continue;
      return { earliest, latest };
    }
  }
  return undefined;
}

async function ofCluster(client: RDSClient, identifier: string): Promise<RecoveryWindow | undefined> {
  const { DBClusters = [] } = await client.send(
    new DescribeDBClustersCommand({ DBClusterIdentifier: identifier }),
  );
  const { EarliestRestorableTime: earliest, LatestRestorableTime: latest } = DBClusters[0] ?? {};
  return earliest === undefined || latest === undefined ? undefined : { earliest, latest };
}
