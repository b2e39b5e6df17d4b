import { Validations } from "aws-cdk-lib";
import type { IConstruct } from "constructs";

export interface Acknowledgement {
  /** Path of the construct, from the stack's name on. */
  at: RegExp;
  /** Of cdk-nag's AwsSolutions pack. */
  rule: string;
  reason: string;
}

const replica = /\/Database\/Replica\d+$/;

/** What cdk-nag finds in the stacks of one database and why it stays; wildcards of functions' roles say it themselves. */
// biome-ignore format: one acknowledgement a line, so that each can be judged by itself
export const acknowledgements: readonly Acknowledgement[] = [
    { at: /-cache\/Cache\/Group$/, rule: "AEC6", reason: "Its user group admits one user, who logs in by IAM: there is no token that could leak" },
    { at: /\/Database\/MonitoringRole\/Resource$/, rule: "IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/AmazonRDSEnhancedMonitoringRole]", reason: "RDS assumes it to write OS metrics; AWS keeps this policy in step with what monitoring needs" },
    { at: /\/framework-onEvent\/ServiceRole\/Resource$/, rule: "IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole]", reason: "CDK's provider framework makes this role; the policy lets it write its logs and nothing else" },
    { at: /\/Database\/(?:Primary|Replica\d+)$/, rule: "RDS11", reason: "Only named security groups reach the port; another number would hide nothing from them and surprise clients" },
    { at: replica, rule: "RDS2", reason: "A replica in the region always has its source's encryption and key; CloudFormation refuses the property here" },
    { at: replica, rule: "RDS3", reason: "Readers stand in for each other through the routing document; the primary has the standby" },
    { at: /\/Database\/MasterSecret\/Resource$/, rule: "SMG4", reason: "The access stack rotates it: there, so that rotation never touches the database's stack" },
];

/** Says of every finding of cdk-nag in the stacks of a database that is known why it stays. */
export function acknowledgeFindings(scope: IConstruct): void {
  for (const construct of scope.node.findAll()) {
    for (const { at, rule, reason } of acknowledgements) {
      if (at.test(construct.node.path))
        Validations.of(construct).acknowledge({ id: `AwsSolutions-${rule}`, reason });
    }
  }
}
