import { setTimeout as delay } from "node:timers/promises";
import type { Endpoint, Session } from "../../ports/databases.ts";
import { connect } from "../../postgres/connect.ts";
import type { Login } from "../state.ts";

/** First pause after a failure; it doubles with each further one, up to the last. */
const firstPauseMilliseconds = 50;
const lastPauseMilliseconds = 2_000;

interface Trouble {
  failures: number;
  /** On the scale of `performance.now()`. */
  until: number;
}

/**
 * One client's connections, opened when first used and kept. After a failure the connection is thrown away
 * and its server left alone for a pause, as a well-behaved application does.
 */
export class Connections {
  private readonly database: string;
  private readonly signal: AbortSignal;
  private readonly open = new Map<string, Session>();
  private readonly trouble = new Map<string, Trouble>();

  constructor(database: string, signal: AbortSignal) {
    this.database = database;
    this.signal = signal;
  }

  /** Whether the pause after this server's last failure still lasts. */
  isPausing(endpoint: Endpoint): boolean {
    return (this.trouble.get(serverKey(endpoint))?.until ?? 0) > performance.now();
  }

  /** Waits for the end of the server's pause, then runs `body` on a connection there. */
  async use(endpoint: Endpoint, login: Login, body: (session: Session) => Promise<void>): Promise<void> {
    const server = serverKey(endpoint);
    const wait = (this.trouble.get(server)?.until ?? 0) - performance.now();
    if (wait > 0) await delay(wait, undefined, { signal: this.signal });
    const key = `${login.user}@${server}`;
    try {
      let session = this.open.get(key);
      if (session === undefined) {
        session = await connect(
          {
            ...endpoint,
            ...login,
            database: this.database,
            applicationName: "shop",
            connectTimeoutMilliseconds: 5_000,
          },
          { pooled: true, signal: this.signal },
        );
        this.open.set(key, session);
      }
      await body(session);
      this.trouble.delete(server);
    } catch (error) {
      const broken = this.open.get(key);
      this.open.delete(key);
      const failures = (this.trouble.get(server)?.failures ?? 0) + 1;
      const pause = Math.min(firstPauseMilliseconds * 2 ** (failures - 1), lastPauseMilliseconds);
      this.trouble.set(server, { failures, until: performance.now() + pause });
      await broken?.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.open.values()].map((session) => session.close()));
    this.open.clear();
  }
}

function serverKey(endpoint: Endpoint): string {
  return `${endpoint.host}:${endpoint.port}`;
}
