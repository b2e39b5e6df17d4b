import type { Config } from "../schema.ts";
import { error, type Rule, type RuleFinding } from "./rule.ts";

/** RFC 1918 and RFC 6598. */
const privateRanges = [
  /^10\./,
  /^172\.(?:1[6-9]|2\d|3[01])\./,
  /^192\.168\./,
  /^100\.(?:6[4-9]|[7-9]\d|1[01]\d|12[0-7])\./,
];

export const networkRules: Rule[] = [
  {
    name: "private-addresses",
    demand: "`network.cidr` is a private range",
    source:
      "Amazon VPC User Guide, VPC CIDR blocks: ranges of RFC 1918 (or RFC 6598) are recommended; public ones hide the hosts that own them",
    check: ({ config: { network } }) =>
      network.existingVpcId !== undefined || privateRanges.some((range) => range.test(network.cidr))
        ? []
        : [
            {
              severity: "warning",
              path: "network.cidr",
              others: ["network.existingVpcId"],
              message: `${network.cidr} is not a private range; hosts that own these addresses could not be reached (10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16)`,
            },
          ],
  },
  {
    name: "existing-vpc-complete",
    demand:
      "`network.existingSubnetIds` names at least two subnets, each once, when `network.existingVpcId` is given; without it there are none, and no `existingEndpointSecurityGroupId`",
    source:
      "Amazon RDS User Guide, Working with DB subnet groups: subnets in at least two zones. pgkeep looks nothing up at synthesis, so it has to be told",
    check: ({ config: { network } }) => existingVpcFindings(network),
  },
];

function existingVpcFindings(network: Config["network"]): RuleFinding[] {
  const { existingVpcId: vpc, existingSubnetIds: subnets, existingEndpointSecurityGroupId: group } = network;
  if (vpc === undefined) {
    return [
      ...(subnets.length === 0 ? [] : ["network.existingSubnetIds"]),
      ...(group === undefined ? [] : ["network.existingEndpointSecurityGroupId"]),
    ].map((path) => error(path, "belongs to an existing VPC; give network.existingVpcId too"));
  }
  if (new Set(subnets).size !== subnets.length) {
    return [error("network.existingSubnetIds", "names a subnet twice; each once, in zones of their own")];
  }
  return subnets.length >= 2
    ? []
    : [
        error(
          "network.existingSubnetIds",
          `names ${subnets.length}; at least 2 isolated subnets of ${vpc}, in zones of their own`,
          ["network.existingVpcId"],
        ),
      ];
}
