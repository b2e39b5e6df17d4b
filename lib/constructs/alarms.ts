import { createHash } from "node:crypto";
import { Duration } from "aws-cdk-lib";
import {
  AlarmRule,
  AlarmState,
  ComparisonOperator,
  CompositeAlarm,
  type IAlarmAction,
  Metric,
  Alarm as MetricAlarm,
  TreatMissingData,
} from "aws-cdk-lib/aws-cloudwatch";
import { SnsAction } from "aws-cdk-lib/aws-cloudwatch-actions";
import { Construct } from "constructs";
import type { Alarm, Comparison, MissingData } from "../alarms/alarm.ts";
import { tellsItself, timeToRecoverSeconds, waitForCauseSeconds } from "../alarms/suppression.ts";
import { metricOf } from "./alarm-metrics.ts";
import type { Measured } from "./measured.ts";
import type { Topics } from "./topics.ts";

const operators: Record<Comparison, ComparisonOperator> = {
  ">": ComparisonOperator.GREATER_THAN_THRESHOLD,
  ">=": ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
  "<": ComparisonOperator.LESS_THAN_THRESHOLD,
  "<=": ComparisonOperator.LESS_THAN_OR_EQUAL_TO_THRESHOLD,
};

const missing: Record<MissingData, TreatMissingData> = {
  breaching: TreatMissingData.BREACHING,
  notBreaching: TreatMissingData.NOT_BREACHING,
  ignore: TreatMissingData.IGNORE,
  missing: TreatMissingData.MISSING,
};

/** So much of an alarm's name, of which CloudWatch takes 255 characters, is left beside a database's key. */
const longestList = 180;

/** CloudWatch's limit for a description. */
const longestDescription = 1024;

export interface AlarmsProps {
  measured: Measured;
  /** What the catalogue has for this database. */
  alarms: readonly Alarm[];
  topics: Topics;
  /** What every alarm does instead of sending to the topic of its severity. */
  action?: IAlarmAction | undefined;
  /** Where the runbook can be read; the entry's heading is added to it. */
  runbook: string;
}

/**
 * The alarms of one database. One that another explains tells nobody itself: a composite alarm beside it does, and
 * is silent while the root cause is in alarm.
 */
export class Alarms extends Construct {
  /** Every metric alarm, by the name that the catalogue gives it. */
  readonly byName: ReadonlyMap<string, MetricAlarm>;
  private readonly suppressors = new Map<string, CompositeAlarm>();

  constructor(scope: Construct, id: string, props: AlarmsProps) {
    super(scope, id);
    const prefix = `pgkeep-${props.measured.databaseKey}`;
    this.byName = new Map(props.alarms.map((alarm) => [alarm.name, this.metricAlarm(alarm, prefix, props)]));
    for (const alarm of props.alarms) this.notify(alarm, prefix, props);
  }

  private metricAlarm(alarm: Alarm, prefix: string, props: AlarmsProps): MetricAlarm {
    const { timing } = alarm;
    const metric = metricOf(alarm, props.measured);
    return new MetricAlarm(this, alarm.name, {
      alarmName: `${prefix}-${alarm.name}`,
      alarmDescription: descriptionOf(alarm, props.measured.databaseKey, props.runbook),
      metric,
      threshold: alarm.threshold,
      comparisonOperator: operators[alarm.comparison],
      evaluationPeriods: timing.evaluationPeriods,
      datapointsToAlarm: timing.datapointsToAlarm,
      treatMissingData: missing[alarm.missingData],
      // A percentile of few samples would be left out otherwise, and that is when nobody is looking.
      ...(alarm.statistic.startsWith("p") && metric instanceof Metric
        ? { evaluateLowSampleCountPercentile: "evaluate" }
        : {}),
    });
  }

  private notify(alarm: Alarm, prefix: string, props: AlarmsProps): void {
    const self = this.alarm(alarm.name);
    const action = props.action ?? new SnsAction(props.topics.of(alarm.severity));
    const [first, ...others] = alarm.consequenceOf.map((name) => this.alarm(name));
    if (tellsItself(alarm) || first === undefined) {
      self.addAlarmAction(action);
      self.addOkAction(action);
      return;
    }
    const notifying = new CompositeAlarm(this, `${alarm.name}-unexplained`, {
      compositeAlarmName: `${prefix}-${alarm.name}-unexplained`,
      alarmDescription: descriptionOf(alarm, props.measured.databaseKey, props.runbook),
      alarmRule: AlarmRule.fromAlarm(self, AlarmState.ALARM),
      actionsSuppressor: others.length === 0 ? first : this.anyOf(alarm.consequenceOf, prefix),
      actionsSuppressorWaitPeriod: Duration.seconds(waitForCauseSeconds),
      actionsSuppressorExtensionPeriod: Duration.seconds(timeToRecoverSeconds),
    });
    notifying.addAlarmAction(action);
    notifying.addOkAction(action);
  }

  /** One alarm for several root causes: shared by all that have the same ones, and without actions. */
  private anyOf(names: readonly string[], prefix: string): CompositeAlarm {
    const sorted = [...names].sort();
    const id = `any-of-${shortened(sorted.join("-"))}`;
    const existing = this.suppressors.get(id);
    if (existing !== undefined) return existing;
    const made = new CompositeAlarm(this, id, {
      compositeAlarmName: `${prefix}-${id}`,
      alarmDescription: `Silences what ${sorted.join(", ")} explain. It tells nobody itself.`,
      alarmRule: AlarmRule.anyOf(
        ...sorted.map((name) => AlarmRule.fromAlarm(this.alarm(name), AlarmState.ALARM)),
      ),
    });
    this.suppressors.set(id, made);
    return made;
  }

  private alarm(name: string): MetricAlarm {
    const found = this.byName.get(name);
    if (found === undefined) throw new TypeError(`there is no alarm ${name}`);
    return found;
  }
}

/** A database with many replicas has more root causes than fit into a name. */
function shortened(text: string): string {
  if (text.length <= longestList) return text;
  const digest = createHash("sha256").update(text).digest("hex").slice(0, 8);
  return `${text.slice(0, longestList - digest.length - 1)}-${digest}`;
}

/** What somebody reads on a phone: what, why, likely cause, and where to read on. */
export function descriptionOf(alarm: Alarm, databaseKey: string, runbook: string): string {
  const text = [
    `${databaseKey}: ${alarm.title}.`,
    alarm.why,
    `Likely: ${alarm.likelyCause}`,
    `Runbook: ${runbook}#${alarm.entry}`,
  ].join(" ");
  if (text.length > longestDescription) throw new RangeError(`the description of ${alarm.name} is too long`);
  return text;
}
