import { once } from "node:events";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { connect } from "node:net";
import { hostname, networkInterfaces } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { StatusCollector } from "../../lib/status/collect.ts";
import { type StatusServer, serveStatus } from "../../lib/status/serve.ts";
import type { Status } from "../../lib/status/status.ts";
import { hostileTexts, statusOf } from "./sample.ts";

interface Answer {
  status: number;
  headers: IncomingMessage["headers"];
  body: string;
}

/** One request, with any header and method, to an address that the URL need not have. */
async function ask(
  to: { url: string } | StatusServer,
  path: string,
  options: { method?: string; headers?: Record<string, string>; body?: string } = {},
): Promise<Answer> {
  const { hostname, port } = new URL(to.url);
  const request = httpRequest({
    host: hostname.replace(/[[\]]/g, ""),
    port,
    path,
    method: options.method ?? "GET",
    headers: options.headers ?? {},
    agent: false,
  });
  request.end(options.body);
  const [response] = (await once(request, "response")) as [IncomingMessage];
  let body = "";
  for await (const chunk of response.setEncoding("utf8")) body += chunk;
  return { status: response.statusCode ?? 0, headers: response.headers, body };
}

/** What the server says to these bytes, until it ends the connection. */
async function raw(server: StatusServer, bytes: string): Promise<string> {
  const socket = connect(server.port, "127.0.0.1");
  let text = "";
  socket.setEncoding("utf8").on("data", (chunk: string) => {
    text += chunk;
  });
  socket.on("error", () => {});
  socket.write(bytes);
  await once(socket, "close");
  return text;
}

const collectorOf = (status: () => Status | Promise<Status>): StatusCollector => ({
  current: async () => status(),
});

describe("the server of the status page on this machine alone", () => {
  let server: StatusServer;
  let collections = 0;
  beforeAll(async () => {
    server = await serveStatus({
      collector: collectorOf(() => {
        collections += 1;
        return statusOf();
      }),
    });
  });
  afterAll(() => server.close());

  it("listens on 127.0.0.1 at a free port, and needs no token there", async () => {
    expect(server.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/$/);
    expect(server.guarded).toBe(false);
    const page = await ask(server, "/");
    expect(page.status).toBe(200);
    expect(page.headers["content-type"]).toBe("text/html; charset=utf-8");
    expect(page.body).toContain("<h1>Status of <bdi>shop</bdi></h1>");
    for (const address of outsideAddresses()) {
      await expect(ask({ url: `http://${address}:${server.port}/` }, "/")).rejects.toThrow(
        /ECONNREFUSED|EHOSTUNREACH/,
      );
    }
  });

  it("forbids the browser everything but the page's own script, style and server, and keeps nothing", async () => {
    const { headers, body } = await ask(server, "/");
    expect(headers).toMatchObject({
      "cache-control": "no-store",
      "x-content-type-options": "nosniff",
      "x-frame-options": "DENY",
      "referrer-policy": "no-referrer",
      "cross-origin-resource-policy": "same-origin",
      "cross-origin-opener-policy": "same-origin",
    });
    expect(headers["access-control-allow-origin"]).toBeUndefined();
    const policy = headers["content-security-policy"] as string;
    expect(policy.split("; ").map((one) => one.replace(/sha256-[^']+/, "sha256-…"))).toEqual([
      "default-src 'none'",
      "script-src 'sha256-…'",
      "style-src 'sha256-…'",
      "connect-src 'self'",
      "img-src 'self'",
      "base-uri 'none'",
      "form-action 'none'",
      "frame-ancestors 'none'",
    ]);
    expect(body).not.toMatch(/(?:src|href)="(?!#|\/)[^"]*"/);
    expect(body).toContain('<noscript><meta http-equiv="refresh" content="10"></noscript>');
  });

  it("answers under no other name, so that no foreign page can point its name here", async () => {
    const { port } = server;
    for (const host of ["127.0.0.1", "localhost", "[::1]", "LOCALHOST"]) {
      expect((await ask(server, "/", { headers: { Host: `${host}:${port}` } })).status, host).toBe(200);
    }
    const before = collections;
    for (const host of [
      "evil.example",
      `evil.example:${port}`,
      `127.0.0.1.evil.example:${port}`,
      "127.0.0.1",
      `127.0.0.1:${port}.evil.example`,
      `localhost:${port + 1}`,
      `127.0.0.1:${port}@evil.example`,
      `0.0.0.0:${port}`,
    ]) {
      for (const path of ["/", "/status.json", "/changes.json", "/runbook"]) {
        const refused = await ask(server, path, { headers: { Host: host } });
        expect(refused.status, host).toBe(421);
        expect(refused.body).not.toContain("shop");
      }
    }
    expect(collections).toBe(before);
    expect(await raw(server, "GET / HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n")).toMatch(
      /^HTTP\/1\.1 421 /,
    );
    expect(await raw(server, "GET / HTTP/1.1\r\n\r\n")).toMatch(/^HTTP\/1\.1 400 /);
  });

  it("changes nothing: GET and HEAD only", async () => {
    for (const method of ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"]) {
      const refused = await ask(server, "/", { method });
      expect([method, refused.status, refused.headers.allow]).toEqual([method, 405, "GET, HEAD"]);
    }
    const whole = await ask(server, "/", { method: "GET" });
    const head = await ask(server, "/", { method: "HEAD" });
    expect([head.status, head.body]).toEqual([200, ""]);
    expect(head.headers["content-length"]).toBe(whole.headers["content-length"]);
    const withBody = await ask(server, "/", {
      method: "POST",
      headers: { "Content-Length": "9" },
      body: "a=b&c=d&e",
    });
    expect([withBody.status, withBody.headers.connection]).toEqual([405, "close"]);
  });

  it("lets pages of other sites ask for nothing, and links from them lead here", async () => {
    for (const site of ["cross-site", "same-site"]) {
      for (const mode of ["cors", "no-cors", "websocket"]) {
        const headers = { "Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode };
        expect((await ask(server, "/status.json", { headers })).status).toBe(403);
      }
    }
    const link = { "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate" };
    expect((await ask(server, "/", { headers: link })).status).toBe(200);
    const own = { "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors" };
    expect((await ask(server, "/changes.json", { headers: own })).status).toBe(200);
  });

  it("has these addresses and no others", async () => {
    expect(JSON.parse((await ask(server, "/status.json")).body)).toEqual(
      JSON.parse(JSON.stringify(statusOf())),
    );
    const changes = JSON.parse((await ask(server, "/changes.json")).body) as {
      content: Record<string, string>;
    };
    expect(Object.keys(changes.content)).toEqual(["verdict", "contents", "collected", "sections"]);
    expect((await ask(server, "/favicon.ico")).status).toBe(204);
    const runbook = await ask(server, "/runbook");
    expect(runbook.body).toMatch(/<h3 class="entry" id="database-down">database-down<\/h3>/);
    for (const path of [
      "/etc/passwd",
      "/../../../etc/passwd",
      "/%2e%2e/%2e%2e/package.json",
      "/runbook/../../package.json",
      "//evil.example/",
      "/runbook.md",
      "/index.html",
      "/%00",
      `/${"a".repeat(2_000)}`,
    ]) {
      expect((await ask(server, path)).status, path).toBe(404);
    }
    expect(
      await raw(
        server,
        `GET http://evil.example/ HTTP/1.1\r\nHost: 127.0.0.1:${server.port}\r\nConnection: close\r\n\r\n`,
      ),
    ).toMatch(/^HTTP\/1\.1 400 /);
  });

  it("gives up what is too large or too slow", { timeout: 30_000 }, async () => {
    const host = `Host: 127.0.0.1:${server.port}\r\n`;
    expect(await raw(server, `GET / HTTP/1.1\r\n${host}X: ${"x".repeat(20_000)}\r\n\r\n`)).toMatch(
      /^HTTP\/1\.1 431 /,
    );
    expect(await raw(server, "not http at all\r\n\r\n")).toMatch(/^HTTP\/1\.1 400 /);
    const began = performance.now();
    // A header that never ends.
    expect(await raw(server, `GET / HTTP/1.1\r\n${host}X-Slow: `)).toMatch(/^HTTP\/1\.1 408 |^$/);
    expect(performance.now() - began).toBeLessThan(12_000);
  });

  it("says that the status cannot be told, without a word of how it is made", async () => {
    const failing = await serveStatus({
      collector: collectorOf(() => {
        throw new Error("stopped by SIGTERM");
      }),
    });
    const answer = await ask(failing, "/");
    expect([answer.status, answer.body]).toEqual([503, "the status cannot be told: stopped by SIGTERM\n"]);
    await failing.close();
  });

  it("ends at once while browsers wait and connections are open", async () => {
    const hanging = await serveStatus({ collector: collectorOf(() => new Promise<Status>(() => {})) });
    const waiting = ask(hanging, "/").catch((error: Error) => error.message);
    const idle = connect(hanging.port, "127.0.0.1");
    idle.on("error", () => {});
    await once(idle, "connect");
    await delay(100);
    const began = performance.now();
    await hanging.close();
    await hanging.close().catch(() => {});
    expect(performance.now() - began).toBeLessThan(15_000);
    expect(await waiting).toMatch(/hang up|ECONNRESET/);
    if (!idle.destroyed) await once(idle, "close");
  });

  it("says why it cannot listen", async () => {
    await expect(serveStatus({ collector: collectorOf(statusOf), port: server.port })).rejects.toMatchObject({
      code: "start-failed",
      message: expect.stringContaining(`cannot serve the status on 127.0.0.1:${server.port}: `),
      remedy: "choose another address with --host or another port with --port",
    });
    await expect(serveStatus({ collector: collectorOf(statusOf), host: "192.0.2.1" })).rejects.toMatchObject({
      code: "start-failed",
    });
  });

  it("gives every hostile text as text", async () => {
    const texts = await serveStatus({ collector: collectorOf(() => statusOf({ hostile: true })) });
    const { body } = await ask(texts, "/");
    const content = JSON.parse((await ask(texts, "/changes.json")).body) as {
      content: Record<string, string>;
    };
    for (const markup of [body, Object.values(content.content).join("\n")]) {
      expect(markup).not.toMatch(/<(?:img|iframe|x|svg onload)\b/i);
      expect(markup.match(/<script/g) ?? []).toHaveLength(markup === body ? 1 : 0);
      expect(markup).not.toMatch(/\s(?:on\w+|style|srcdoc)=["']/);
      for (const text of hostileTexts) {
        expect(markup).toContain(
          text
            .replaceAll("&", "&amp;")
            .replaceAll("<", "&lt;")
            .replaceAll(">", "&gt;")
            .replaceAll('"', "&quot;")
            .replaceAll("'", "&#39;"),
        );
      }
    }
    await texts.close();
  });
});

describe("the server of the status page for others", () => {
  let server: StatusServer;
  let token: string;
  let name: string;
  beforeAll(async () => {
    server = await serveStatus({ collector: collectorOf(statusOf), host: "0.0.0.0" });
    token = new URL(server.url).searchParams.get("token") ?? "";
    name = `pgkeep_status_${server.port}`;
  });
  afterAll(() => server.close());

  const local = () => ({ url: `http://127.0.0.1:${server.port}/` });
  const cookieOf = (answer: Answer) => (answer.headers["set-cookie"]?.[0] ?? "").split(";")[0] ?? "";

  it("asks for a token that nobody guesses", () => {
    expect(server.guarded).toBe(true);
    expect(new URL(server.url).hostname).toBe(hostname().toLowerCase());
    expect(Buffer.from(token, "base64url")).toHaveLength(32);
  });

  it("lets nobody see anything without it", async () => {
    for (const path of ["/", "/status.json", "/changes.json", "/runbook", "/favicon.ico", "/nothing"]) {
      for (const headers of [
        {},
        { Cookie: `${name}=` },
        { Cookie: `${name}=${token}` },
        { Cookie: "pgkeep_status_1=x; other=y" },
        { Authorization: "Bearer " },
        { Authorization: `Basic ${token}` },
        { Authorization: "Bearer wrong" },
      ] as Record<string, string>[]) {
        const refused = await ask(local(), path, { headers });
        expect([path, refused.status]).toEqual([path, 401]);
        expect(refused.body).not.toContain("shop");
        expect(refused.headers["set-cookie"]).toBeUndefined();
      }
    }
  });

  it("takes the token once, puts a cookie in its place, and leaves no token in the address", async () => {
    const entered = await ask(local(), `/?token=${token}`);
    expect([entered.status, entered.headers.location, entered.body]).toEqual([303, "/", ""]);
    expect(entered.headers["set-cookie"]).toEqual([
      expect.stringMatching(new RegExp(`^${name}=[\\w-]{43}; HttpOnly; SameSite=Strict; Path=/$`)),
    ]);
    expect(cookieOf(entered)).not.toContain(token);
    const headers = { Cookie: `other=1; ${cookieOf(entered)}; more=2` };
    const page = await ask(local(), "/", { headers });
    expect(page.status).toBe(200);
    expect(page.body).not.toContain(token);
    expect((await ask(local(), "/status.json", { headers })).status).toBe(200);
    // Nobody is let in by half of it.
    const half = { Cookie: cookieOf(entered).slice(0, -1) };
    expect((await ask(local(), "/", { headers: half })).status).toBe(401);
  });

  it("says 401 to a wrong token, even of who is in already", async () => {
    const { headers } = await ask(local(), `/?token=${token}`);
    const cookie = (headers["set-cookie"]?.[0] ?? "").split(";")[0] ?? "";
    for (const wrong of [
      "",
      "x",
      token.slice(0, -1),
      `${token}x`,
      token.toLowerCase(),
      encodeURIComponent(`${token}\0`),
    ]) {
      for (const more of [{}, { Cookie: cookie }] as Record<string, string>[]) {
        const refused = await ask(local(), `/?token=${wrong}`, { headers: more });
        expect([wrong, refused.status, refused.headers["set-cookie"]]).toEqual([wrong, 401, undefined]);
      }
    }
  });

  it("takes the token of programs as a header", async () => {
    const headers = { Authorization: `Bearer ${token}` };
    expect(JSON.parse((await ask(local(), "/status.json", { headers })).body)).toMatchObject({
      formatVersion: 1,
    });
  });

  it("is found from outside under any name", async () => {
    for (const address of outsideAddresses()) {
      const outside = { url: `http://${address}:${server.port}/` };
      expect((await ask(outside, "/")).status).toBe(401);
      expect(
        (await ask(outside, "/", { headers: { Host: "status.example", Authorization: `Bearer ${token}` } }))
          .status,
      ).toBe(200);
    }
  });
});

/** This machine's addresses that others reach. */
function outsideAddresses(): string[] {
  return Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter(({ family, internal }) => family === "IPv4" && !internal)
    .map(({ address }) => address)
    .slice(0, 1);
}
