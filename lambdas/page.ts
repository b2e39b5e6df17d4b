import { Logger } from "@aws-lambda-powertools/logger";
import type { Context } from "aws-lambda";
import type { Look } from "../lib/alarms/page/look.ts";
import { composePage, type Page, type PagedAlarm, type PageRequest } from "../lib/alarms/page/page.ts";
import { type AlarmEvent, readAlarmEvent } from "../lib/aws/alarm-event.ts";
import { awsClients } from "../lib/aws/clients.ts";
import { snsNotifications } from "../lib/aws/notifications.ts";
import { type PagerCalls, pagerCalls } from "../lib/aws/pager.ts";
import { environmentNames, type PlatformResources } from "../lib/aws/resources.ts";
import { errorMessage, PgkeepError } from "../lib/errors.ts";
import { pageNotification } from "../lib/jobs/page-notification.ts";
import type { Notifications } from "../lib/ports/notifications.ts";
import { required } from "./handler.ts";

/** What the function knows of the alarms of its database; a part of its code. */
export interface PagerSetting {
  config: PageRequest["config"];
  alarms: readonly PagedAlarm[];
  runbook: string;
}

export interface PagerPorts extends PagerCalls {
  notifications: Notifications;
}

/** What a look may take in all: starting the function, logging in, and looking. */
export const lookMilliseconds = 15_000;

/** Of a composite alarm beside one that others can explain. */
const unexplained = "-unexplained";

/**
 * The action of every alarm of one database: has the database looked at, and tells people what was found. Whatever
 * fails on the way is only missing in the message; when the message itself cannot be sent it throws, and Lambda
 * hands the event on to the topic.
 */
export function pageHandler(
  setting: PagerSetting,
  open: () => PagerPorts = openPorts,
): (event: unknown, context: Context) => Promise<Page> {
  const logger = new Logger({ serviceName: "pgkeep-page" });
  const ports = open();
  return async (event, context) => {
    logger.addContext(context);
    const told = readAlarmEvent(event);
    const alarm = alarmOf(setting, told);
    const [look, { since, value }] = await Promise.all([
      told.state === "ALARM" ? lookFor(alarm, ports, logger) : undefined,
      told.value === undefined ? stateOf(setting, alarm, told, ports, logger) : told,
    ]);
    const { config, runbook } = setting;
    const transition = { state: told.state === "ALARM" ? "alarm" : "ok", since, value } as const;
    const page = composePage({ alarm, config, transition, look, runbook });
    await ports.notifications.send(pageNotification(page));
    logger.info(`told: ${page.title}`, { page: { ...page } });
    return page;
  };
}

/** @throws PgkeepError `not-found`: Lambda then hands the event on as it is */
function alarmOf({ alarms, config }: PagerSetting, { alarmName }: AlarmEvent): PagedAlarm {
  const prefix = prefixOf(config);
  const name = alarmName.startsWith(prefix) ? alarmName.slice(prefix.length) : alarmName;
  const found = alarms.find((one) => one.name === name || `${one.name}${unexplained}` === name);
  if (found !== undefined) return found;
  throw new PgkeepError("not-found", `the database ${config.key} has no alarm ${alarmName}`, {
    remedy: "deploy the stack of its alarms again",
  });
}

const prefixOf = ({ key }: PagerSetting["config"]) => `pgkeep-${key}-`;

async function lookFor(alarm: PagedAlarm, ports: PagerPorts, logger: Logger): Promise<Look | undefined> {
  if (alarm.look.length === 0) return undefined;
  const { entry, subject, look } = alarm;
  try {
    return await ports.look({ entry, subject, look }, lookMilliseconds);
  } catch (error) {
    logger.warn("nobody could look at the database", error as Error);
    const unseen = [`nobody could look at the database: ${errorMessage(error)}`];
    return { lookedAt: new Date().toISOString(), findings: [], unseen };
  }
}

/** A composite alarm is told without a value and after a wait: the metric alarm beside it knows better. */
async function stateOf(
  { config }: PagerSetting,
  alarm: PagedAlarm,
  told: AlarmEvent,
  ports: PagerPorts,
  logger: Logger,
): Promise<Pick<AlarmEvent, "since" | "value">> {
  try {
    const { inAlarm, since, value } = await ports.stateOf(`${prefixOf(config)}${alarm.name}`);
    const isSame = inAlarm === (told.state === "ALARM");
    return {
      since: isSame && since !== undefined ? since : told.since,
      ...(value === undefined ? {} : { value }),
    };
  } catch (error) {
    logger.warn("the value is not known", error as Error);
    return told;
  }
}

function openPorts(): PagerPorts {
  const resources = JSON.parse(required(environmentNames.resources)) as PlatformResources;
  const { region } = resources;
  return {
    ...pagerCalls({ region, lookFunction: required(environmentNames.lookFunction) }),
    notifications: snsNotifications(awsClients({ region, maxAttempts: 4 }), resources),
  };
}
