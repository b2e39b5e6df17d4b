import {
  type Change,
  ChangeResourceRecordSetsCommand,
  ListResourceRecordSetsCommand,
  type ResourceRecordSet,
  type Route53Client,
} from "@aws-sdk/client-route-53";
import type { RoutingDocument } from "../ports/routing.ts";
import { calling } from "./errors.ts";
import type { PlatformResources } from "./resources.ts";

/** How long a resolver may keep an answer: as long as a reader may go on with a replica that stopped serving. */
const ttlSeconds = 5;

type ReaderDns = NonNullable<PlatformResources["readerDns"]>;

/**
 * Makes the readers' weighted records what the document says: one for each replica that serves, the primary's
 * when none does and it may, and none else. A weight of 0 is removed, since Route 53 answers with all records
 * when all weigh 0. One atomic change, and none when nothing differs.
 */
export async function publishDns(
  client: Route53Client,
  dns: ReaderDns,
  document: RoutingDocument,
): Promise<void> {
  await calling(`publish the readers' records ${dns.recordName}`, async () => {
    const current = await weightedRecords(client, dns);
    const changes = changesBetween(current, wantedRecords(dns.recordName, document));
    if (changes.length === 0) return;
    await client.send(
      new ChangeResourceRecordSetsCommand({
        HostedZoneId: dns.hostedZoneId,
        ChangeBatch: { Comment: `pgkeep routing version ${document.version}`, Changes: changes },
      }),
    );
  });
}

function wantedRecords(recordName: string, document: RoutingDocument): ResourceRecordSet[] {
  const record = (identifier: string, host: string, weight: number): ResourceRecordSet => ({
    Name: recordName,
    Type: "CNAME",
    SetIdentifier: identifier,
    Weight: weight,
    TTL: ttlSeconds,
    ResourceRecords: [{ Value: host }],
  });
  const serving = document.replicas.filter(({ weight }) => weight > 0);
  if (serving.length > 0) {
    return serving.map(({ name, endpoint, weight }) => record(name, endpoint.host, weight));
  }
  const { primary } = document;
  return primary.servesReads ? [record("primary", primary.endpoint.host, 100)] : [];
}

function changesBetween(current: ResourceRecordSet[], wanted: ResourceRecordSet[]): Change[] {
  const meant = (record: ResourceRecordSet) =>
    [record.SetIdentifier, record.Weight, record.TTL, bare(record.ResourceRecords?.[0]?.Value)].join(" ");
  const wantedIdentifiers = new Set(wanted.map(({ SetIdentifier }) => SetIdentifier));
  const standing = new Set(current.map(meant));
  return [
    ...current
      .filter(({ SetIdentifier }) => !wantedIdentifiers.has(SetIdentifier))
      .map((ResourceRecordSet): Change => ({ Action: "DELETE", ResourceRecordSet })),
    ...wanted
      .filter((record) => !standing.has(meant(record)))
      .map((ResourceRecordSet): Change => ({ Action: "UPSERT", ResourceRecordSet })),
  ];
}

async function weightedRecords(client: Route53Client, dns: ReaderDns): Promise<ResourceRecordSet[]> {
  const found: ResourceRecordSet[] = [];
  let from: { StartRecordIdentifier?: string } = {};
  for (;;) {
    const page = await client.send(
      new ListResourceRecordSetsCommand({
        HostedZoneId: dns.hostedZoneId,
        StartRecordName: dns.recordName,
        StartRecordType: "CNAME",
        ...from,
      }),
    );
    const records = page.ResourceRecordSets ?? [];
    // The list goes on with the names that sort after this one.
    const ours = records.filter(({ Name, Type }) => bare(Name) === bare(dns.recordName) && Type === "CNAME");
    found.push(...ours.filter(({ SetIdentifier }) => SetIdentifier !== undefined));
    const next = page.NextRecordIdentifier;
    if (
      page.IsTruncated !== true ||
      bare(page.NextRecordName) !== bare(dns.recordName) ||
      next === undefined
    ) {
      return found;
    }
    from = { StartRecordIdentifier: next };
  }
}

function bare(name: string | undefined): string {
  return (name ?? "").replace(/\.$/, "").toLowerCase();
}
