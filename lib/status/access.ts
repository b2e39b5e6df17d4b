import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { isIP } from "node:net";

/** Names under which a browser on this machine may ask; any other name on loopback is somebody's DNS rebinding. */
const loopbackNames = ["127.0.0.1", "localhost", "[::1]"];

/** Whether an address that a server listens on is reached from this machine alone. */
export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || (isIP(host) === 4 && host.startsWith("127."));
}

/** Whether it stands for every address of this machine. */
export function isWildcard(host: string): boolean {
  return host === "0.0.0.0" || host === "::";
}

/** `host:port`, as it stands in a URL. */
export function authority(host: string, port: number): string {
  return `${isIP(host) === 6 ? `[${host}]` : host}:${port}`;
}

/** Whether a request on loopback names this machine, at this port. */
export function namesLoopback(headers: IncomingHttpHeaders, host: string, port: number): boolean {
  return [...loopbackNames.map((name) => `${name}:${port}`), authority(host, port)].includes(
    (headers.host ?? "").toLowerCase(),
  );
}

/** Whether another site's page asks: that is nobody's reading, unless somebody followed a link. */
export function fromElsewhere(headers: IncomingHttpHeaders): boolean {
  const site = headers["sec-fetch-site"];
  return (site === "cross-site" || site === "same-site") && headers["sec-fetch-mode"] !== "navigate";
}

/** The way in for who has the token. */
export interface Gate {
  readonly token: string;
  /** Whether it is the token, compared in a time that does not depend on how much of it is right. */
  isToken(text: string): boolean;
  /** Whether the request brings the token, or the cookie that the token got. */
  admits(headers: IncomingHttpHeaders): boolean;
  /** For `Set-Cookie`. */
  readonly cookie: string;
}

/** @param port distinguishes the cookies of servers on one host, which browsers do not */
export function makeGate(port: number): Gate {
  const token = randomBytes(32).toString("base64url");
  // The cookie is another secret: who reads it somewhere does not learn the token.
  const session = randomBytes(32).toString("base64url");
  const name = `pgkeep_status_${port}`;
  return {
    token,
    isToken: (text) => same(text, token),
    admits: ({ cookie, authorization }) => {
      const bearer = /^Bearer (\S+)$/i.exec(authorization ?? "")?.[1];
      if (bearer !== undefined && same(bearer, token)) return true;
      return (cookie ?? "")
        .split(";")
        .map((pair) => pair.trim())
        .some((pair) => pair.startsWith(`${name}=`) && same(pair.slice(name.length + 1), session));
    },
    cookie: `${name}=${session}; HttpOnly; SameSite=Strict; Path=/`,
  };
}

/** Digests have one length, whatever is compared. */
function same(one: string, other: string): boolean {
  const digest = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(one), digest(other));
}
