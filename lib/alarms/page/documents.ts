import { type OpsgenieRequest, opsgenieRequest } from "./opsgenie.ts";
import type { Page } from "./page.ts";
import { type PagerDutyEvent, pagerDutyEvent } from "./pagerduty.ts";
import { type SlackMessage, slackMessage } from "./slack.ts";

/** A page in every form, for programs. */
export interface PageDocuments {
  page: Page;
  pagerDuty: PagerDutyEvent;
  opsgenie: OpsgenieRequest;
  slack: SlackMessage;
}

export function pageDocuments(page: Page): PageDocuments {
  return {
    page,
    pagerDuty: pagerDutyEvent(page),
    opsgenie: opsgenieRequest(page),
    slack: slackMessage(page),
  };
}
