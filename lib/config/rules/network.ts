import type { Rule } from "./rule.ts";

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
];
