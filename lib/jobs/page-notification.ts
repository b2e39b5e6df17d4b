import type { Page } from "../alarms/page/page.ts";
import { pageSubject, pageText } from "../alarms/page/text.ts";
import type { Notification } from "../ports/notifications.ts";

/** The page as a message: what to send of it where only a subject and a text can be shown. */
export function pageNotification(page: Page): Notification & { page: Page } {
  return { severity: page.severity, subject: pageSubject(page), body: pageText(page), page };
}
