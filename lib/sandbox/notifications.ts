import { appendFile } from "node:fs/promises";
import type { Notifications } from "../ports/notifications.ts";

/** Messages for people, one JSON document a line. */
export function fileNotifications(file: string): Notifications {
  return {
    send: (notification) =>
      appendFile(file, `${JSON.stringify({ at: new Date().toISOString(), ...notification })}\n`, {
        mode: 0o600,
      }),
  };
}
