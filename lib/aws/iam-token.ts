import { createHash, createHmac } from "node:crypto";

/** Keys as a Lambda finds them in its environment. */
export interface AwsKeys {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken?: string;
}

export interface TokenRequest {
  host: string;
  port: number;
  region: string;
  user: string;
  keys: AwsKeys;
  now: Date;
}

/** How long RDS accepts a token for a new connection. */
const validSeconds = 900;

const emptyBody = createHash("sha256").update("").digest("hex");

/**
 * The password for a login by IAM: a presigned request (Signature Version 4, service `rds-db`, action `connect`)
 * without its scheme. Signed here, without a call to AWS, so it works where there is no way out; and without the
 * SDK's signer, whose search for credentials takes longer to load than everything else a database step needs.
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
 */
export function iamToken({ host, port, region, user, keys, now }: TokenRequest): string {
  const at = now.toISOString().replace(/[-:]|\.\d+/g, "");
  const scope = [at.slice(0, 8), region, "rds-db", "aws4_request"].join("/");
  const parameters = {
    Action: "connect",
    DBUser: user,
    "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
    "X-Amz-Credential": `${keys.accessKeyId}/${scope}`,
    "X-Amz-Date": at,
    "X-Amz-Expires": String(validSeconds),
    ...(keys.sessionToken === undefined ? {} : { "X-Amz-Security-Token": keys.sessionToken }),
    "X-Amz-SignedHeaders": "host",
  };
  const request = ["GET", "/", queryString(parameters), `host:${host}:${port}`, "", "host", emptyBody].join(
    "\n",
  );
  const digest = createHash("sha256").update(request).digest("hex");
  const key = [...scope.split("/")].reduce<Buffer | string>(hmac, `AWS4${keys.secretAccessKey}`);
  const signature = hmac(key, ["AWS4-HMAC-SHA256", at, scope, digest].join("\n")).toString("hex");
  return `${host}:${port}/?${queryString({ ...parameters, "X-Amz-Signature": signature })}`;
}

function hmac(key: Buffer | string, text: string): Buffer {
  return createHmac("sha256", key).update(text).digest();
}

/** Sorted, and escaped as RFC 3986 wants it: `encodeURIComponent` leaves five characters that AWS does not. */
function queryString(parameters: Record<string, string>): string {
  const escaped = (text: string) =>
    encodeURIComponent(text).replace(
      /[!'()*]/g,
      (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
    );
  return Object.keys(parameters)
    .sort()
    .map((name) => `${escaped(name)}=${escaped(parameters[name] ?? "")}`)
    .join("&");
}
