import { z } from "zod";
import { cidr, form, subnetIds, vpcId, whole } from "./forms.ts";

export const network = z
  .strictObject({
    cidr: cidr.default("10.20.0.0/16").describe("Addresses of the VPC that is made"),
    availabilityZones: whole(2, 3).default(3).describe("Zones that get a subnet of each kind"),
    existingVpcId: vpcId().optional().describe("Use this VPC instead of making one"),
    existingSubnetIds: subnetIds()
      .default([])
      .describe("Isolated subnets of that VPC, each in a zone of its own"),
    existingEndpointSecurityGroupId: form(/^sg-[0-9a-f]{8,17}$/, "an id such as sg-0123456789abcdef0")
      .optional()
      .describe(
        "Security group of an endpoint for Secrets Manager that the VPC already has; without it one is made",
      ),
  })
  .meta({ id: "network", description: "The network that the databases live in" });
