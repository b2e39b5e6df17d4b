import { createServer, type Server } from "node:http";
import { afterAll, beforeAll } from "vitest";

/** One request on its way to AWS. */
export interface WireRequest {
  /** `CopyDBSnapshot`, `PutParameter`, or the path for REST. */
  action: string;
  body: string;
}

export interface WireAnswer {
  status: number;
  body: string;
  headers?: Record<string, string>;
}

/** A proxy before an emulated AWS that answers by itself, or changes answers, as the test says. */
export interface Wire {
  readonly endpoint: string;
  /** Every request that arrived, in order; `reset` forgets them. */
  readonly requests: WireRequest[];
  /** Answers instead of AWS, when it gives an answer. */
  answer: ((request: WireRequest) => WireAnswer | undefined) | undefined;
  /** Changes the body of AWS's answer. */
  rewrite: ((request: WireRequest, body: string) => string) | undefined;
  reset(): void;
}

/** AWS's answer to too many calls in the query protocol (RDS, SNS). */
export const throttled: WireAnswer = {
  status: 400,
  headers: { "content-type": "text/xml" },
  body: `<ErrorResponse><Error><Type>Sender</Type><Code>Throttling</Code><Message>Rate exceeded</Message></Error><RequestId>1</RequestId></ErrorResponse>`,
};

export const unavailable: WireAnswer = { status: 503, body: "" };

export function useWire(target: () => string): Wire {
  let server: Server | undefined;
  let endpoint = "";
  const wire: Wire = {
    get endpoint() {
      return endpoint;
    },
    requests: [],
    answer: undefined,
    rewrite: undefined,
    reset() {
      wire.requests.length = 0;
      wire.answer = undefined;
      wire.rewrite = undefined;
    },
  };
  beforeAll(async () => {
    server = createServer(async (incoming, outgoing) => {
      const chunks: Buffer[] = [];
      for await (const chunk of incoming) chunks.push(chunk as Buffer);
      const body = Buffer.concat(chunks).toString("utf8");
      const target_ = incoming.headers["x-amz-target"];
      const action =
        (typeof target_ === "string" ? target_.split(".").at(-1) : undefined) ??
        new URLSearchParams(body).get("Action") ??
        incoming.url ??
        "";
      const request: WireRequest = { action, body };
      wire.requests.push(request);
      const own = wire.answer?.(request);
      if (own !== undefined) {
        outgoing.writeHead(own.status, own.headers).end(own.body);
        return;
      }
      const { host: _, connection: __, "content-length": ___, expect: ____, ...headers } = incoming.headers;
      const answer = await fetch(`${target()}${incoming.url}`, {
        method: incoming.method ?? "GET",
        headers: headers as Record<string, string>,
        ...(chunks.length === 0 ? {} : { body }),
      });
      const text = await answer.text();
      const type = answer.headers.get("content-type") ?? "text/xml";
      outgoing.writeHead(answer.status, { "content-type": type }).end(wire.rewrite?.(request, text) ?? text);
    });
    await new Promise<void>((resolve) => server?.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    endpoint = `http://127.0.0.1:${typeof address === "object" ? address?.port : 0}`;
  });
  afterAll(() => {
    server?.closeAllConnections();
    server?.close();
  });
  return wire;
}
