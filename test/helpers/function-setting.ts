import { chown, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { PlatformResources } from "../../lib/aws/resources.ts";
import type { Authority } from "./certificates.ts";
import type { TestServer } from "./postgres.ts";

/** As on RDS: nobody gets in without TLS. What a token proves only RDS can check, so any is taken here. */
const hostBased = `hostssl all pgkeep_monitoring,pgkeep_maintenance,pgkeep_drill 127.0.0.1/32 trust
hostnossl all pgkeep_monitoring,pgkeep_maintenance,pgkeep_drill 127.0.0.1/32 reject
host all all 127.0.0.1/32 scram-sha-256
`;

/** The same, and every login is asked for its password: so that a function makes its token. */
export const withPasswords = `hostssl all all 127.0.0.1/32 scram-sha-256
host all postgres 127.0.0.1/32 scram-sha-256
`;

/** Gives a running server a certificate for `name`, and rules like those of RDS. */
export async function switchTlsOn(
  server: TestServer,
  authority: Authority,
  name: string,
  rules = hostBased,
): Promise<void> {
  const { certificate, key } = await authority.issue(name);
  const { uid, gid } = await stat(server.dataDirectory);
  const files = { "server.crt": certificate, "server.key": key, "pg_hba.conf": rules };
  for (const [file, text] of Object.entries(files)) {
    const path = join(server.dataDirectory, file);
    await writeFile(path, text, { mode: 0o600 });
    await chown(path, uid, gid);
  }
  const session = await server.connect("postgres");
  await session.query("alter system set ssl = on");
  await session.query("select pg_reload_conf()");
  await session.close();
}

/** What a function of the database `test` is told, with its primary there. */
export function functionResources(
  database: string,
  { host = "localhost", port }: { host?: string; port: number },
): PlatformResources {
  return {
    partition: "aws",
    account: "123456789012",
    region: "eu-central-1",
    key: "test",
    databaseName: database,
    topology: "instance",
    primary: { name: "primary", host, port, identifier: "pgkeep-test" },
    replicas: [],
    resourceIds: ["db-ABCDEFGHIJKL"],
    restore: { subnetGroupName: "", securityGroupIds: [], parameterGroupName: "", instanceClass: "" },
    kmsKeyArn: "arn:aws:kms:eu-central-1:123456789012:key/test",
    routingParameterName: "/pgkeep/test/routing",
    pageTopicArn: "arn:aws:sns:eu-central-1:123456789012:pgkeep-test-page",
    ticketTopicArn: "arn:aws:sns:eu-central-1:123456789012:pgkeep-test-ticket",
    copyToRegions: [],
  };
}
