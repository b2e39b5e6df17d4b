import { z } from "zod";
import { cidr, form, region, seconds, subnetIds, vpcId, whole } from "./forms.ts";

export const replicas = z
  .strictObject({
    count: whole(0, 15)
      .default(2)
      .describe("Read replicas in the region; a multi-az-cluster has exactly two"),
    maxCount: whole(1, 15)
      .optional()
      .describe("Aurora only: autoscaling adds readers up to this many; by default there is no autoscaling"),
    maxLagSeconds: seconds({ min: 1, max: 3600 })
      .default(120)
      .describe("A replica behind by more stops serving reads"),
    resumeLagSeconds: seconds({ min: 0, max: 3600 })
      .default(30)
      .describe("It serves again when it is behind by no more than this"),
    maxLagBytes: whole(1)
      .default(268_435_456)
      .describe("A replica behind by more bytes of WAL stops serving reads"),
    resumeLagBytes: whole(0)
      .default(67_108_864)
      .describe("It serves again when it is behind by no more bytes of WAL than this"),
    warmUpSeconds: seconds({ min: 0, max: 3600 })
      .default(60)
      .describe("A replica that came back must be well for this long before it serves"),
    primaryServesReads: z
      .enum(["never", "last-resort", "always"])
      .default("last-resort")
      .describe("Whether reads may go to the primary: never, when no replica serves, or always"),
    disasterRecovery: z
      .strictObject({
        region: region()
          .optional()
          .describe(
            "Instances only: a region that gets a replica in a stack of its own, for the day this one is lost; needs account.region",
          ),
        instanceClass: form(
          /^[a-z]+\d[a-z0-9]*\.[a-z0-9]+$/,
          "an instance class without db., such as m7g.large",
        )
          .optional()
          .describe("Its class; by default that of the database"),
        cidr: cidr.default("10.21.0.0/16").describe("Addresses of the VPC that is made for it"),
        existingVpcId: vpcId().optional().describe("Use this VPC of that region instead of making one"),
        existingSubnetIds: subnetIds()
          .default([])
          .describe("Isolated subnets of that VPC, each in a zone of its own"),
        promoted: z
          .boolean()
          .default(false)
          .describe("Set and deployed, it makes the replica a database of its own; there is no way back"),
      })
      .prefault({}),
  })
  .meta({ id: "replicas", description: "Read replicas, and when they may serve reads" });
