import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { hostname } from "node:os";
import { errorMessage, PgkeepError } from "../errors.ts";
import { policyOf } from "../html/page.ts";
import {
  authority,
  fromElsewhere,
  type Gate,
  isLoopback,
  isWildcard,
  makeGate,
  namesLoopback,
} from "./access.ts";
import type { StatusCollector } from "./collect.ts";
import { pageChanges, statusPage } from "./page/page.ts";
import { refusalPage } from "./page/refusal.ts";
import { runbookPage } from "./page/runbook.ts";
import { script } from "./page/script.ts";
import { style } from "./page/style.ts";

export interface ServeOptions {
  collector: StatusCollector;
  /** Default 127.0.0.1. Elsewhere than on loopback nobody is let in without a token. */
  host?: string;
  /** Default: any that is free. */
  port?: number;
  /** After how long a page asks for what has changed. Default 2. */
  refreshSeconds?: number;
}

export interface StatusServer {
  /** Where a browser finds the page; with the token where one is needed. */
  readonly url: string;
  readonly port: number;
  /** Whether a token is asked for. */
  readonly guarded: boolean;
  /** Ends open conversations too. Twice is fine. */
  close(): Promise<void>;
}

const everyAnswer = {
  "Cache-Control": "no-store",
  "Content-Security-Policy": `${policyOf({ style, script, served: true })}; frame-ancestors 'none'`,
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
  "Referrer-Policy": "no-referrer",
  "X-Content-Type-Options": "nosniff",
  "X-Frame-Options": "DENY",
};

interface Answer {
  status: number;
  type?: "text/html" | "application/json" | "text/plain";
  body?: string;
  headers?: Record<string, string>;
}

/**
 * Serves the status as a page, by plain HTTP.
 * @throws PgkeepError `start-failed` when it cannot listen there
 */
export async function serveStatus(options: ServeOptions): Promise<StatusServer> {
  const { collector, host = "127.0.0.1", refreshSeconds } = options;
  const guarded = !isLoopback(host);
  let gate: Gate | undefined;
  let port = 0;
  const server = createServer(
    {
      maxHeaderSize: 8_192,
      headersTimeout: 5_000,
      requestTimeout: 10_000,
      keepAliveTimeout: 10_000,
      connectionsCheckingInterval: 1_000,
      // What is wrong in HTTP itself is answered with 400.
      requireHostHeader: true,
    },
    (request, response) => {
      void answerTo(request, { collector, gate, host, port, refreshSeconds })
        .catch(
          (error: unknown): Answer => ({
            status: 503,
            type: "text/plain",
            body: `the status cannot be told: ${errorMessage(error)}\n`,
          }),
        )
        .then((answer) => send(request, response, answer));
    },
  );
  server.maxConnections = 100;
  server.maxRequestsPerSocket = 1_000;
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) => {
      reject(
        new PgkeepError(
          "start-failed",
          `cannot serve the status on ${authority(host, options.port ?? 0)}: ${error.message}`,
          { remedy: "choose another address with --host or another port with --port", cause: error },
        ),
      );
    });
    server.listen(options.port ?? 0, host, resolve);
  });
  port = (server.address() as AddressInfo).port;
  if (guarded) gate = makeGate(port);
  return {
    url: `http://${authority(isWildcard(host) ? hostname() : host, port)}/${gate === undefined ? "" : `?token=${gate.token}`}`,
    port,
    guarded,
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
    },
  };
}

interface Surroundings {
  collector: StatusCollector;
  gate: Gate | undefined;
  host: string;
  port: number;
  refreshSeconds: number | undefined;
}

async function answerTo(request: IncomingMessage, around: Surroundings): Promise<Answer> {
  const { collector, gate, host, port, refreshSeconds } = around;
  const { headers, method } = request;
  const plain = (status: number, body: string, more: Record<string, string> = {}): Answer => ({
    status,
    type: "text/plain",
    body: `${body}\n`,
    headers: more,
  });
  if (gate === undefined && !namesLoopback(headers, host, port)) {
    return plain(421, `this page is at http://${authority(host, port)}/, and under no other name`);
  }
  if (fromElsewhere(headers)) return plain(403, "the pages of other sites may not ask");
  if (method !== "GET" && method !== "HEAD") {
    return plain(405, "nothing can be changed here", { Allow: "GET, HEAD" });
  }
  const target = request.url ?? "";
  if (!target.startsWith("/") || !URL.canParse(`http://localhost${target}`))
    return plain(400, "no such address");
  const { pathname, searchParams } = new URL(`http://localhost${target}`);
  if (gate !== undefined) {
    const token = searchParams.get("token");
    if (token !== null && gate.isToken(token)) {
      // The token goes on as a cookie, and stays in no address.
      return { status: 303, headers: { Location: "/", "Set-Cookie": gate.cookie } };
    }
    if (token !== null || !gate.admits(headers)) {
      return {
        status: 401,
        type: "text/html",
        body: refusalPage(),
        headers: { "WWW-Authenticate": "Bearer" },
      };
    }
  }
  switch (pathname) {
    case "/":
      return { status: 200, type: "text/html", body: statusPage(await collector.current(), refreshSeconds) };
    case "/changes.json":
      return json(pageChanges(await collector.current()));
    case "/status.json":
      return json(await collector.current());
    case "/runbook":
      return { status: 200, type: "text/html", body: await runbookPage() };
    case "/favicon.ico":
      return { status: 204 };
    default:
      return plain(404, "there is nothing here; the status is at /");
  }
}

const json = (document: unknown): Answer => ({
  status: 200,
  type: "application/json",
  body: JSON.stringify(document),
});

function send(request: IncomingMessage, response: ServerResponse, answer: Answer): void {
  const { status, type, body = "", headers = {} } = answer;
  if (response.destroyed) return;
  // A body that nobody wants is not waited for.
  if (request.headers["content-length"] !== undefined || request.headers["transfer-encoding"] !== undefined) {
    response.setHeader("Connection", "close");
  }
  response.writeHead(status, {
    ...everyAnswer,
    ...(type === undefined ? {} : { "Content-Type": `${type}; charset=utf-8` }),
    ...(status === 204 ? {} : { "Content-Length": Buffer.byteLength(body) }),
    ...headers,
  });
  response.end(request.method === "HEAD" ? undefined : body);
}
