import { setTimeout as delay } from "node:timers/promises";
import type { Session } from "../../ports/databases.ts";
import { connect } from "../../postgres/connect.ts";
import type { SandboxState, ServerState } from "../state.ts";
import type { MeasureContext } from "./measure.ts";

/** A server that takes longer is one that does not answer. */
const answerMilliseconds = 1_500;
const lockMilliseconds = 100;

/** One session with each server, kept from one measuring to the next: a login costs more than all that is asked. */
export class Asking {
  private readonly state: Pick<SandboxState, "superuser">;
  private readonly sessions = new Map<string, Session>();

  constructor(state: Pick<SandboxState, "superuser">) {
    this.state = state;
  }

  /** For one measuring: a server that did not answer once is not asked again. One statement after the other. */
  round(): MeasureContext["ask"] {
    const turns = new Map<string, Promise<unknown>>();
    const silent = new Set<string>();
    return async <Row>(server: ServerState, sql: string, values?: readonly unknown[]) => {
      const turn = (turns.get(server.name) ?? Promise.resolve()).then(
        async (): Promise<Row[] | undefined> => {
          if (silent.has(server.name)) return undefined;
          const rows = await this.askOnce<Row>(server, sql, values);
          if (rows === undefined) silent.add(server.name);
          return rows;
        },
      );
      turns.set(server.name, turn);
      return turn;
    };
  }

  async close(): Promise<void> {
    const all = [...this.sessions.values()];
    this.sessions.clear();
    await Promise.all(all.map((session) => session.close()));
  }

  private async askOnce<Row>(
    server: ServerState,
    sql: string,
    values: readonly unknown[] | undefined,
  ): Promise<Row[] | undefined> {
    const kept = this.sessions.get(server.name);
    // One that was kept may be of a server that has since started anew.
    const rows = kept && (await this.query<Row>(kept, server, sql, values));
    if (rows !== undefined) return rows;
    const opened = await this.open(server);
    return opened && this.query<Row>(opened, server, sql, values);
  }

  /** Undefined when it fails or takes too long; the session is then gone. */
  private async query<Row>(
    session: Session,
    { name }: ServerState,
    sql: string,
    values: readonly unknown[] | undefined,
  ): Promise<Row[] | undefined> {
    const enough = new AbortController();
    try {
      const rows = await Promise.race([
        session.query<Row>(sql, values),
        delay(answerMilliseconds, undefined, { signal: enough.signal }),
      ]);
      if (rows !== undefined) return rows;
    } catch {
      // Said below.
    } finally {
      enough.abort();
    }
    if (this.sessions.get(name) === session) this.sessions.delete(name);
    // Cuts the connection when a statement is still running in it.
    void session.close();
    return undefined;
  }

  private async open(server: ServerState): Promise<Session | undefined> {
    try {
      const session = await connect(
        {
          host: "127.0.0.1",
          port: server.port,
          database: "postgres",
          ...this.state.superuser,
          applicationName: "pgkeep measures",
          connectTimeoutMilliseconds: 1_000,
        },
        {
          statementTimeoutMilliseconds: answerMilliseconds,
          lockTimeoutMilliseconds: lockMilliseconds,
        },
      );
      this.sessions.set(server.name, session);
      return session;
    } catch {
      return undefined;
    }
  }
}
