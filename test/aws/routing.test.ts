import {
  CreateHostedZoneCommand,
  ListResourceRecordSetsCommand,
  type Route53Client,
} from "@aws-sdk/client-route-53";
import { GetParameterCommand, PutParameterCommand, paginateGetParametersByPath } from "@aws-sdk/client-ssm";
import { beforeAll, describe, expect, it } from "vitest";
import { awsClients } from "../../lib/aws/clients.ts";
import { ssmRouting } from "../../lib/aws/routing.ts";
import type { RoutingDocument } from "../../lib/ports/routing.ts";
import { motoCredentials, noMoto, useMoto } from "../helpers/moto.ts";
import { routingContract, routingDocument } from "../ports/routing.contract.ts";
import { platform } from "./platform.ts";

describe.skipIf(noMoto !== undefined)(`routing on AWS${noMoto === undefined ? "" : ` (${noMoto})`}`, () => {
  const moto = useMoto();
  const clients = () =>
    awsClients({ region: "eu-west-1", endpoint: moto.endpoint, credentials: motoCredentials });
  let places = 0;
  const place = () => {
    places += 1;
    return platform({ routingParameterName: `/pgkeep/test-${places}/routing` });
  };

  routingContract("an SSM parameter", async () => {
    const resources = place();
    return () => ssmRouting(clients(), resources);
  });

  const parameter = async (name: string) =>
    (
      await clients()
        .ssm()
        .send(new GetParameterCommand({ Name: name }))
    ).Parameter;

  it("shows applications the newest document under the parameter's own name", async () => {
    const resources = place();
    const routing = ssmRouting(clients(), resources);
    await routing.publish(routingDocument(1), undefined);
    await routing.publish(routingDocument(2), 1);
    const shown = await parameter(resources.routingParameterName);
    expect(JSON.parse(shown?.Value ?? "")).toEqual(routingDocument(2));
  });

  it("keeps the last twenty versions", async () => {
    const resources = place();
    const routing = ssmRouting(clients(), resources);
    for (let version = 1; version <= 25; version += 1) {
      expect(await routing.publish(routingDocument(version), version === 1 ? undefined : version - 1)).toBe(
        true,
      );
    }
    const names: number[] = [];
    const pages = paginateGetParametersByPath(
      { client: clients().ssm() },
      { Path: `${resources.routingParameterName}/versions` },
    );
    for await (const { Parameters = [] } of pages) {
      names.push(...Parameters.map(({ Name }) => Number(Name?.split("/").at(-1))));
    }
    names.sort((a, b) => a - b);
    expect(names).toEqual(Array.from({ length: 20 }, (_, index) => index + 6));
  });

  it("finds the newest version when the publisher died before it was shown", async () => {
    const resources = place();
    const routing = ssmRouting(clients(), resources);
    await routing.publish(routingDocument(1), undefined);
    await clients()
      .ssm()
      .send(
        new PutParameterCommand({
          Name: `${resources.routingParameterName}/versions/0000000002`,
          Value: JSON.stringify(routingDocument(2)),
          Type: "String",
        }),
      );
    expect(await routing.read()).toEqual(routingDocument(2));
    expect(await routing.publish(routingDocument(3), 2)).toBe(true);
    expect((await parameter(resources.routingParameterName))?.Value).toContain('"version":3');
  });

  it("publishes a document of fifteen replicas, and says so when one is too large", async () => {
    const routing = ssmRouting(clients(), place());
    expect(await routing.publish(withReplicas(15), undefined)).toBe(true);
    await expect(ssmRouting(clients(), place()).publish(withReplicas(40), undefined)).rejects.toMatchObject({
      code: "refused",
      message: expect.stringContaining("8192"),
    });
  });

  it("reports a damaged document", async () => {
    const resources = place();
    await clients()
      .ssm()
      .send(new PutParameterCommand({ Name: resources.routingParameterName, Value: "{}", Type: "String" }));
    await expect(ssmRouting(clients(), resources).read()).rejects.toMatchObject({
      code: "internal",
      message: expect.stringContaining(resources.routingParameterName),
    });
  });

  describe("readers' DNS records", () => {
    let zone = "";
    const route53 = (): Route53Client => clients().route53();
    beforeAll(async () => {
      const made = await route53().send(
        new CreateHostedZoneCommand({ Name: "shop.internal", CallerReference: "test" }),
      );
      zone = made.HostedZone?.Id?.split("/").at(-1) ?? "";
    });
    const records = async (name: string) => {
      const { ResourceRecordSets = [] } = await route53().send(
        new ListResourceRecordSetsCommand({ HostedZoneId: zone }),
      );
      return ResourceRecordSets.filter(({ Name }) => Name === `${name}.`)
        .map((record) => [record.SetIdentifier, record.Weight, record.ResourceRecords?.[0]?.Value])
        .sort();
    };
    const document = (version: number, weights: number[], servesReads = false): RoutingDocument => {
      const base = routingDocument(version);
      return {
        ...base,
        primary: { ...base.primary, servesReads },
        replicas: weights.map((weight, index) => ({
          ...(base.replicas[0] as RoutingDocument["replicas"][number]),
          name: `replica-${index + 1}`,
          endpoint: { host: `replica-${index + 1}.example`, port: 5432 },
          weight,
        })),
      };
    };

    it("weigh the replicas that serve, and fall back to the primary when none does", async () => {
      const recordName = "read.shop.internal";
      const routing = ssmRouting(clients(), {
        ...place(),
        readerDns: { hostedZoneId: zone, recordName },
      });
      await routing.publish(document(1, [60, 40]), undefined);
      expect(await records(recordName)).toEqual([
        ["replica-1", 60, "replica-1.example"],
        ["replica-2", 40, "replica-2.example"],
      ]);
      await routing.publish(document(2, [0, 100]), 1);
      expect(await records(recordName)).toEqual([["replica-2", 100, "replica-2.example"]]);
      await routing.publish(document(3, [0, 0], true), 2);
      expect(await records(recordName)).toEqual([["primary", 100, "primary.example"]]);
      await routing.publish(document(4, [0, 0], false), 3);
      expect(await records(recordName)).toEqual([]);
      await routing.publish(document(5, [100, 0]), 4);
      expect(await records(recordName)).toEqual([["replica-1", 100, "replica-1.example"]]);
    });
  });
});

function withReplicas(count: number): RoutingDocument {
  const base = routingDocument(1);
  const [replica] = base.replicas;
  if (replica === undefined) throw new Error("the sample has a replica");
  return {
    ...base,
    replicas: Array.from({ length: count }, (_, index) => ({
      ...replica,
      name: `replica-${index}`,
      endpoint: { host: `pgkeep-shop-replica-${index}.abcdefghijkl.eu-west-1.rds.amazonaws.com`, port: 5432 },
    })),
  };
}
