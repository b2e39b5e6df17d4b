import type { Page } from "../alarms/page/page.ts";

export interface Notification {
  severity: "page" | "ticket";
  subject: string;
  body: string;
  /** What an alarm tells, for whoever can do more with it than show subject and body. */
  page?: Page;
}

/** Where messages for people go: SNS topics, a file in the sandbox. */
export interface Notifications {
  send(notification: Notification): Promise<void>;
}
