import { PublishCommand } from "@aws-sdk/client-sns";
import { pageDocuments } from "../alarms/page/documents.ts";
import type { Page } from "../alarms/page/page.ts";
import { pageSms } from "../alarms/page/text.ts";
import type { Notifications } from "../ports/notifications.ts";
import type { AwsClients } from "./clients.ts";
import { calling } from "./errors.ts";
import type { PlatformResources } from "./resources.ts";

/** A subject becomes that of an e-mail: under 100 printable ASCII characters (SNS API reference, `Publish`). */
const maxSubjectCharacters = 99;
/** A message may have 262,144 bytes; some are left for attributes. */
const maxBodyBytes = 250_000;

/** Messages for people through the topics for pages and for tickets. */
export function snsNotifications(clients: AwsClients, resources: PlatformResources): Notifications {
  return {
    async send({ severity, subject, body, page }) {
      const topic = severity === "page" ? resources.pageTopicArn : resources.ticketTopicArn;
      await calling(`send a ${severity} to ${topic}`, () =>
        clients.sns().send(
          new PublishCommand({
            TopicArn: topic,
            Subject: asciiSubject(subject),
            ...(page === undefined
              ? { Message: cut(body) || asciiSubject(subject) }
              : { Message: messagesOf(page, body), MessageStructure: "json" }),
          }),
        ),
      );
    },
  };
}

/**
 * A message for each kind of subscriber (SNS API reference, `Publish`, MessageStructure): people read the text, a
 * telephone one line, and programs (https, sqs, lambda and all others) get the page in every form as JSON.
 */
function messagesOf(page: Page, body: string): string {
  const message = (document: unknown) =>
    JSON.stringify({ default: JSON.stringify(document), email: cut(body), sms: pageSms(page) });
  const whole = message(pageDocuments(page));
  return Buffer.byteLength(whole) <= maxBodyBytes ? whole : message({ page });
}

/** The subject as SNS takes it: one line of ASCII, with `?` for what is not, cut with an ellipsis. */
export function asciiSubject(subject: string): string {
  const plain = subject
    .normalize("NFKD")
    .replace(/\p{M}/gu, "")
    .replace(/\s+/g, " ")
    .replace(/[^\x20-\x7e]/gu, "?")
    .trim();
  const text = plain === "" ? "pgkeep" : plain;
  return text.length <= maxSubjectCharacters ? text : `${text.slice(0, maxSubjectCharacters - 3)}...`;
}

function cut(body: string): string {
  const bytes = Buffer.from(body);
  if (bytes.length <= maxBodyBytes) return body;
  // A character that the cut went through decodes to the replacement character.
  return `${bytes
    .subarray(0, maxBodyBytes)
    .toString("utf8")
    .replace(/\uFFFD$/, "")}\n… cut`;
}
