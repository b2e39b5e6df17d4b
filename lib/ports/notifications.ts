export interface Notification {
  severity: "page" | "ticket";
  subject: string;
  body: string;
}

/** Where messages for people go: SNS topics, a file in the sandbox. */
export interface Notifications {
  send(notification: Notification): Promise<void>;
}
