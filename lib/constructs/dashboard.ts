import { Duration } from "aws-cdk-lib";
import {
  AlarmStatusWidget,
  AlarmStatusWidgetSortBy,
  Dashboard,
  GraphWidget,
  type IMetric,
  type IWidget,
  PeriodOverride,
  TextWidget,
  TextWidgetBackground,
} from "aws-cdk-lib/aws-cloudwatch";
import { Construct } from "constructs";
import { type Alarm, type Question, questions } from "../alarms/alarm.ts";
import { metricOf } from "./alarm-metrics.ts";
import type { Alarms } from "./alarms.ts";
import type { Measured } from "./measured.ts";

const headings: Record<Question, string> = {
  up: "Is it up?",
  full: "Is it full?",
  slow: "Is it slow?",
  protected: "Is it protected?",
};

/** CloudWatch's grid. */
const columns = 24;
const graphWidth = 6;

export interface StatusDashboardProps {
  measured: Measured;
  alarms: readonly Alarm[];
  constructs: Alarms;
}

/** One page for one database. Top to bottom: is it up, is it full, is it slow, is it protected. */
export class StatusDashboard extends Construct {
  readonly dashboard: Dashboard;

  constructor(scope: Construct, id: string, props: StatusDashboardProps) {
    super(scope, id);
    this.dashboard = new Dashboard(this, "Dashboard", {
      dashboardName: `pgkeep-${props.measured.databaseKey}`,
      periodOverride: PeriodOverride.INHERIT,
      defaultInterval: Duration.hours(6),
    });
    for (const question of questions) this.section(question, props);
  }

  private section(question: Question, props: StatusDashboardProps): void {
    const alarms = props.alarms.filter((alarm) => alarm.question === question);
    this.dashboard.addWidgets(
      new TextWidget({
        markdown: `# ${headings[question]}`,
        width: columns,
        height: 1,
        background: TextWidgetBackground.TRANSPARENT,
      }),
    );
    if (alarms.length === 0) return;
    this.dashboard.addWidgets(
      new AlarmStatusWidget({
        title: headings[question],
        alarms: alarms.flatMap(({ name }) => props.constructs.byName.get(name) ?? []),
        sortBy: AlarmStatusWidgetSortBy.STATE_UPDATED_TIMESTAMP,
        width: columns,
        height: Math.min(8, 2 + Math.ceil(alarms.length / 8)),
      }),
    );
    this.dashboard.addWidgets(...graphs(alarms, props.measured));
  }
}

/** One graph for each entry of the catalogue: its replicas or jobs together, with the limit as a line. */
function graphs(alarms: readonly Alarm[], measured: Measured): IWidget[] {
  const byEntry = new Map<string, Alarm[]>();
  for (const alarm of alarms) byEntry.set(alarm.entry, [...(byEntry.get(alarm.entry) ?? []), alarm]);
  return [...byEntry.values()].map((group) => {
    const limits = [...new Set(group.map(({ threshold }) => threshold))];
    return new GraphWidget({
      title: group[0]?.entry ?? "",
      left: group.map((alarm) => labelled(alarm, measured)),
      leftAnnotations: limits.map((value) => ({ value, label: "limit" })),
      leftYAxis: { label: unitText(group[0]), showUnits: false },
      width: graphWidth,
      height: 5,
    });
  });
}

function labelled(alarm: Alarm, measured: Measured): IMetric {
  const label = alarm.subject?.name ?? `${alarm.statistic} of ${alarm.entry}`;
  return metricOf({ ...alarm, title: label }, measured);
}

function unitText(alarm: Alarm | undefined): string {
  return alarm?.unit === undefined || alarm.unit === "None" ? "" : alarm.unit;
}
