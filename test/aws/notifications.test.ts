import { CreateTopicCommand } from "@aws-sdk/client-sns";
import { beforeAll, describe, expect, it } from "vitest";
import { pageDocuments } from "../../lib/alarms/page/documents.ts";
import { pageText } from "../../lib/alarms/page/text.ts";
import { awsClients } from "../../lib/aws/clients.ts";
import { asciiSubject, snsNotifications } from "../../lib/aws/notifications.ts";
import { pageNotification } from "../../lib/jobs/page-notification.ts";
import { lookWith, pageOf, rootFinding } from "../alarms/page/pages.ts";
import { useWire } from "../helpers/aws-wire.ts";
import { motoCredentials, noMoto, useMoto } from "../helpers/moto.ts";
import { platform } from "./platform.ts";

describe("the subject of a notification", () => {
  it("is one line of at most 100 ASCII characters", () => {
    expect(asciiSubject("shop: replica lag")).toBe("shop: replica lag");
    expect(asciiSubject("Café – naïve\r\nBcc: x")).toBe("Cafe ? naive Bcc: x");
    expect(asciiSubject("漢字")).toBe("??");
    expect(asciiSubject(" \n ")).toBe("pgkeep");
    const long = asciiSubject("x".repeat(300));
    expect(long.length).toBeLessThan(100);
    expect(long).toMatch(/x\.\.\.$/);
  });
});

describe.skipIf(noMoto !== undefined)(
  `notifications by SNS${noMoto === undefined ? "" : ` (${noMoto})`}`,
  () => {
    const moto = useMoto();
    const wire = useWire(() => moto.endpoint);
    const clients = () =>
      awsClients({ region: "eu-west-1", endpoint: wire.endpoint, credentials: motoCredentials });
    beforeAll(async () => {
      for (const Name of ["pgkeep-shop-page", "pgkeep-shop-ticket"]) {
        await clients().sns().send(new CreateTopicCommand({ Name }));
      }
    });
    const sent = async (severity: "page" | "ticket", body: string) => {
      wire.reset();
      await snsNotifications(clients(), platform()).send({ severity, subject: "shop: über", body });
      return new URLSearchParams(wire.requests[0]?.body);
    };

    it("go to the topic of their severity", async () => {
      const page = await sent("page", "what to do: 漢字");
      expect(page.get("TopicArn")).toMatch(/pgkeep-shop-page$/);
      expect(page.get("Subject")).toBe("shop: uber");
      expect(page.get("Message")).toBe("what to do: 漢字");
      expect((await sent("ticket", "x")).get("TopicArn")).toMatch(/pgkeep-shop-ticket$/);
    });

    it("carry a page in a form for each kind of subscriber", async () => {
      wire.reset();
      const page = pageOf("blocked-sessions", { look: lookWith(rootFinding), value: 12 });
      await snsNotifications(clients(), platform()).send(pageNotification(page));
      const request = new URLSearchParams(wire.requests[0]?.body);
      expect(request.get("TopicArn")).toMatch(/pgkeep-shop-page$/);
      expect(request.get("MessageStructure")).toBe("json");
      expect(request.get("Subject")).toBe("PAGE shop: Many sessions wait for a lock");
      const messages = JSON.parse(request.get("Message") ?? "");
      expect(Object.keys(messages).toSorted()).toEqual(["default", "email", "sms"]);
      expect(messages.email).toBe(pageText(page));
      expect(messages.sms.length).toBeLessThanOrEqual(140);
      expect(JSON.parse(messages.default)).toEqual(JSON.parse(JSON.stringify(pageDocuments(page))));
    });

    it("carry the page alone when all its forms are more than SNS takes", async () => {
      wire.reset();
      const huge = { ...rootFinding, evidence: { statement: "x" } };
      const page = pageOf("blocked-sessions", { look: lookWith(huge) });
      const also = Array.from({ length: 150 }, () => "漢".repeat(150));
      await snsNotifications(clients(), platform()).send(pageNotification({ ...page, also }));
      const message = new URLSearchParams(wire.requests[0]?.body).get("Message") ?? "";
      expect(Buffer.byteLength(message)).toBeLessThan(262_144);
      expect(Object.keys(JSON.parse(JSON.parse(message).default))).toEqual(["page"]);
    });

    it("are cut to what SNS takes, between characters, and an empty one still arrives", async () => {
      const message = (await sent("page", "漢".repeat(200_000))).get("Message") ?? "";
      expect(Buffer.byteLength(message)).toBeLessThan(262_144);
      expect(message).toMatch(/漢\n… cut$/);
      expect((await sent("page", "")).get("Message")).toBe("shop: uber");
    });

    it("name the topic that does not exist", async () => {
      const elsewhere = platform({ pageTopicArn: "arn:aws:sns:eu-west-1:123456789012:absent" });
      await expect(
        snsNotifications(clients(), elsewhere).send({ severity: "page", subject: "x", body: "y" }),
      ).rejects.toMatchObject({ code: "not-found", message: expect.stringContaining("absent") });
    });
  },
);
