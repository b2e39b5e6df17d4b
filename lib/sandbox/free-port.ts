import { createServer } from "node:net";

/** Handed out and perhaps not yet bound: not to be handed out twice by this process. */
const recent = new Set<number>();

/**
 * A loopback TCP port that nobody listens on now. Another process may take it before the caller binds it,
 * so whoever starts a server on it tries again with another.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = await new Promise<number>((resolve, reject) => {
      const server = createServer();
      server.once("error", reject);
      server.listen({ host: "127.0.0.1", port: 0, exclusive: true }, () => {
        const address = server.address();
        server.close(() => {
          if (address === null || typeof address === "string") reject(new Error("no TCP address"));
          else resolve(address.port);
        });
      });
    });
    if (recent.has(port)) continue;
    recent.add(port);
    setTimeout(() => recent.delete(port), 30_000).unref();
    return port;
  }
}
