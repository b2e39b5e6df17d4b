import { RemovalPolicy, Stack } from "aws-cdk-lib";
import { AnyPrincipal, Effect, PolicyStatement, ServicePrincipal } from "aws-cdk-lib/aws-iam";
import { Key } from "aws-cdk-lib/aws-kms";
import { Subscription, SubscriptionProtocol, Topic, TopicPolicy } from "aws-cdk-lib/aws-sns";
import { Construct } from "constructs";
import type { AlarmSeverity } from "../alarms/alarm.ts";
import type { Config } from "../config/schema.ts";
import { identifiersOf } from "./identifiers.ts";

export interface TopicsProps {
  /** The database's key in the configuration. */
  databaseKey: string;
  notifications: Config["notifications"];
}

/** Where alarms and jobs send what people should know: one topic to wake somebody, one for office hours. */
export class Topics extends Construct {
  readonly page: Topic;
  readonly ticket: Topic;

  constructor(scope: Construct, id: string, props: TopicsProps) {
    super(scope, id);
    const names = identifiersOf({ key: props.databaseKey });
    const key = this.key(names.base);
    this.page = this.topic("Page", names.pageTopic, `${names.base}: page`, key, props.notifications.page);
    this.ticket = this.topic(
      "Ticket",
      names.ticketTopic,
      `${names.base}: ticket`,
      key,
      props.notifications.ticket,
    );
  }

  of(severity: AlarmSeverity): Topic {
    return severity === "page" ? this.page : this.ticket;
  }

  /**
   * AWS's own key for SNS lets CloudWatch publish nothing, so the topics have one: CloudWatch may use it, and
   * whoever may publish to a topic of this account may use it through SNS.
   */
  private key(base: string): Key {
    const { account, region } = Stack.of(this);
    const key = new Key(this, "Key", {
      description: `${base}: messages of alarms and jobs`,
      enableKeyRotation: true,
      // It keeps nothing for longer than a delivery takes.
      removalPolicy: RemovalPolicy.DESTROY,
    });
    const actions = ["kms:Decrypt", "kms:GenerateDataKey*"];
    key.addToResourcePolicy(
      new PolicyStatement({
        sid: "AlarmsEncrypt",
        principals: [new ServicePrincipal("cloudwatch.amazonaws.com")],
        actions,
        resources: ["*"],
        conditions: { StringEquals: { "aws:SourceAccount": account } },
      }),
    );
    key.addToResourcePolicy(
      new PolicyStatement({
        sid: "PublishersEncrypt",
        principals: [new AnyPrincipal()],
        actions,
        resources: ["*"],
        conditions: {
          StringEquals: { "kms:CallerAccount": account, "kms:ViaService": `sns.${region}.amazonaws.com` },
        },
      }),
    );
    return key;
  }

  private topic(
    id: string,
    name: string,
    displayName: string,
    key: Key,
    addresses: readonly string[],
  ): Topic {
    const { account, partition, region } = Stack.of(this);
    const topic = new Topic(this, id, { topicName: name, displayName, masterKey: key });
    const policy = new TopicPolicy(this, `${id}Policy`, { topics: [topic], enforceSSL: true });
    policy.document.addStatements(
      new PolicyStatement({
        sid: "AlarmsPublish",
        effect: Effect.ALLOW,
        principals: [new ServicePrincipal("cloudwatch.amazonaws.com")],
        actions: ["sns:Publish"],
        resources: [topic.topicArn],
        conditions: {
          StringEquals: { "aws:SourceAccount": account },
          ArnLike: { "aws:SourceArn": `arn:${partition}:cloudwatch:${region}:${account}:alarm:*` },
        },
      }),
    );
    addresses.forEach((address, index) => {
      new Subscription(this, `${id}Subscription${index + 1}`, {
        topic,
        protocol: SubscriptionProtocol.EMAIL,
        endpoint: address,
      });
    });
    return topic;
  }
}
