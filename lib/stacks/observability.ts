import { Stack, type StackProps } from "aws-cdk-lib";
import type { Construct } from "constructs";
import { alarmsFor } from "../alarms/catalogue.ts";
import type { Config } from "../config/schema.ts";
import { alarmContextOf } from "../constructs/alarm-context.ts";
import { Alarms } from "../constructs/alarms.ts";
import { StatusDashboard } from "../constructs/dashboard.ts";
import { LogMetrics } from "../constructs/log-metrics.ts";
import { measuredOf } from "../constructs/measured.ts";
import { Pager, type PagerProps } from "../constructs/pager.ts";
import type { DatabasePlatform } from "../constructs/platform.ts";
import { Topics } from "../constructs/topics.ts";

export interface ObservabilityStackProps extends StackProps {
  platform: Pick<DatabasePlatform, "config" | "resources" | "metricDimensions">;
  /** The whole file: who is notified, and which database watches the account's quotas. */
  config: Config;
  /** The whole platform, for the functions that look at the database when an alarm fires; alarms do without else. */
  explain?: { platform: DatabasePlatform; code?: PagerProps["code"] | undefined };
  /** Where docs/runbook.md can be read, for the links in alarms. Default: its path in the repository. */
  runbook?: string;
}

/** Topics, alarms and dashboard of one database. Changing a limit changes this stack and no other. */
export class ObservabilityStack extends Stack {
  readonly topics: Topics;
  readonly alarms: Alarms | undefined;
  /** Absent where alarms go straight to the topics. */
  readonly pager: Pager | undefined;

  constructor(scope: Construct, id: string, props: ObservabilityStackProps) {
    const { platform, config, explain, runbook = "docs/runbook.md", ...stackProps } = props;
    super(scope, id, stackProps);
    const measured = measuredOf(platform);
    const names = (servers: readonly { name: string }[]) => servers.map(({ name }) => name);
    this.topics = new Topics(this, "Topics", {
      databaseKey: platform.config.key,
      notifications: config.notifications,
    });
    if (!platform.config.alarms.enabled) return;
    const context = alarmContextOf(platform.config, config, {
      replicas: names(measured.replicas),
      readers: names(platform.resources.replicas),
      servers: names(measured.servers),
      proxy: measured.proxy !== undefined,
    });
    const alarms = alarmsFor(context);
    new LogMetrics(this, "LogMetrics", measured);
    if (explain !== undefined && config.notifications.enriched) {
      this.pager = new Pager(this, "Pager", { ...explain, alarms, topics: this.topics, runbook });
    }
    this.alarms = new Alarms(this, "Alarms", {
      measured,
      alarms,
      topics: this.topics,
      action: this.pager?.action,
      runbook,
    });
    new StatusDashboard(this, "Status", { measured, alarms, constructs: this.alarms });
  }
}
