import { type ISecurityGroup, Port } from "aws-cdk-lib/aws-ec2";
import { databasePort } from "./identifiers.ts";

export interface Admission {
  /** The group that is reached. */
  to: ISecurityGroup;
  /** The group that may reach it. */
  from: ISecurityGroup;
  /** Who that is, for the rule's description. */
  who: string;
  /** Default: PostgreSQL's. */
  port?: number;
  /** Which of the two stands in the stack that is deployed later, and so takes both rules. Default `from`. */
  later?: "from" | "to";
}

/** Opens one port from one security group to another, on both sides. */
export function admit({ to, from, who, port = databasePort, later = "from" }: Admission): void {
  const tcp = Port.tcp(port);
  to.addIngressRule(from, tcp, `From ${who}`, later === "from");
  from.addEgressRule(to, tcp, `For ${who}`, later === "to");
}
