import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

/** Ports that all lead to the same server: one for each name, so that a login tells where it meant to go. */
export class Doors {
  readonly #servers = new Map<string, Server>();
  readonly #sockets = new Set<Socket>();

  async open(port: number, names: readonly string[]): Promise<void> {
    for (const name of names) {
      const server = createServer((from) => {
        const to = connect(port, "127.0.0.1");
        for (const socket of [from, to]) {
          this.#sockets.add(socket);
          socket.on("close", () => this.#sockets.delete(socket));
          socket.on("error", () => socket.destroy());
        }
        from.pipe(to);
        to.pipe(from);
      });
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      this.#servers.set(name, server);
    }
  }

  /** @throws Error for a name that has no port */
  portOf(name: string): number {
    const server = this.#servers.get(name);
    if (server === undefined) throw new Error(`there is no port for ${name}`);
    return (server.address() as AddressInfo).port;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all(
      [...this.#servers.values()].map((server) => new Promise((resolve) => server.close(resolve))),
    );
  }
}
