import { Signer } from "@aws-sdk/rds-signer";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { iamToken } from "../../lib/aws/iam-token.ts";

const now = new Date("2026-01-02T03:04:05.678Z");
beforeEach(() => void vi.useFakeTimers({ now }));
afterEach(() => void vi.useRealTimers());

it.each([
  { user: "pgkeep_monitoring", sessionToken: undefined },
  { user: "pgkeep_monitoring", sessionToken: "IQoJb3JpZ2luX2VjE/+a=b" },
  { user: "it's (odd)*!~ é", sessionToken: undefined },
])("signs as AWS's own signer does, for $user", async ({ user, sessionToken }) => {
  const keys = {
    accessKeyId: "AKIDEXAMPLE",
    secretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    ...(sessionToken === undefined ? {} : { sessionToken }),
  };
  const server = {
    host: "pgkeep-shop.abc.eu-central-1.rds.amazonaws.com",
    port: 5432,
    region: "eu-central-1",
  };
  const signer = new Signer({
    hostname: server.host,
    port: server.port,
    region: server.region,
    username: user,
    credentials: keys,
  });
  expect(iamToken({ ...server, user, keys, now })).toBe(await signer.getAuthToken());
});
