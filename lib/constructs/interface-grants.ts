import { ArnFormat, Stack } from "aws-cdk-lib";
import type { ISecurityGroup, IVpc, SubnetSelection } from "aws-cdk-lib/aws-ec2";
import type { Construct } from "constructs";
import type { GrantStatement } from "../aws/grants.ts";

/** Where a function runs inside the VPC. */
export interface InsideVpc {
  functionName: string;
  vpc: IVpc;
  subnets: SubnetSelection;
  securityGroup: ISecurityGroup;
}

const interfaceActions = {
  list: ["ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets"],
  create: ["ec2:CreateNetworkInterface"],
  change: ["ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses"],
  remove: ["ec2:DeleteNetworkInterface"],
};

/**
 * Lambda makes the network interfaces with the function's role; the function's own code is denied the same
 * (AWS Lambda Developer Guide, "Giving Lambda functions access to resources in an Amazon VPC").
 */
export function interfaceStatements(
  scope: Construct,
  { functionName, vpc, subnets, securityGroup }: InsideVpc,
): GrantStatement[] {
  const stack = Stack.of(scope);
  const ec2 = (resource: string, resourceName: string) =>
    stack.formatArn({ service: "ec2", resource, resourceName });
  const interfaces = ec2("network-interface", "*");
  const { subnetIds } = vpc.selectSubnets(subnets);
  return [
    {
      sid: "ListInterfaces",
      actions: interfaceActions.list,
      resources: ["*"],
      reason: "EC2 has no resource to name when it lists",
    },
    {
      sid: "CreateInterfaces",
      actions: interfaceActions.create,
      resources: [
        interfaces,
        ec2("security-group", securityGroup.securityGroupId),
        ...subnetIds.map((id) => ec2("subnet", id)),
      ],
      reason: "an interface has no id before it is made; subnet and security group are named",
    },
    {
      sid: "ChangeInterfaces",
      actions: interfaceActions.change,
      resources: [interfaces],
      reason: "Lambda chooses the interfaces, after the policy is made",
    },
    {
      sid: "RemoveInterfaces",
      actions: interfaceActions.remove,
      resources: [ec2("*", "*")],
      reason: "Lambda refuses the role unless this names all resources of the account",
    },
    {
      sid: "DenyInterfacesToCode",
      effect: "Deny",
      actions: Object.values(interfaceActions).flat(),
      resources: ["*"],
      reason: "a denial: the function's code may touch no network interface",
      conditions: {
        ArnEquals: {
          "lambda:SourceFunctionArn": stack.formatArn({
            service: "lambda",
            resource: "function",
            resourceName: functionName,
            arnFormat: ArnFormat.COLON_RESOURCE_NAME,
          }),
        },
      },
    },
  ];
}
