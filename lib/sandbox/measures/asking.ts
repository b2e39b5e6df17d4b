import { setTimeout as delay } from "node:timers/promises";
import type { Session } from "../../ports/databases.ts";
import { connect } from "../../postgres/connect.ts";
import { hasSqlState } from "../../postgres/errors.ts";
import { SqlState } from "../../postgres/sqlstate.ts";
import type { SandboxState, ServerState } from "../state.ts";
import type { MeasureContext } from "./measure.ts";

/** A server that takes longer is one that does not answer. */
const answerMilliseconds = 1_500;
const lockMilliseconds = 100;

/** `refused`: it answered that it has to wait for somebody. */
type Answer<Row> = Row[] | "refused" | "none";

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
          const answer = await this.askOnce<Row>(server, sql, values);
          if (answer === "none") silent.add(server.name);
          return typeof answer === "string" ? undefined : answer;
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
  ): Promise<Answer<Row>> {
    const kept = this.sessions.get(server.name);
    if (kept !== undefined) {
      const answer = await this.query<Row>(kept, server, sql, values);
      // It may be of a server that has since started anew.
      if (answer !== "none") return answer;
    }
    const opened = await this.open(server);
    return opened === undefined ? "none" : this.query<Row>(opened, server, sql, values);
  }

  /** After no answer the session is gone. */
  private async query<Row>(
    session: Session,
    { name }: ServerState,
    sql: string,
    values: readonly unknown[] | undefined,
  ): Promise<Answer<Row>> {
    const enough = new AbortController();
    try {
      const rows = await Promise.race([
        session.query<Row>(sql, values),
        delay(answerMilliseconds, undefined, { signal: enough.signal }),
      ]);
      if (rows !== undefined) return rows;
    } catch (error) {
      if (hasSqlState(error, SqlState.lockNotAvailable, SqlState.queryCanceled)) return "refused";
    } finally {
      enough.abort();
    }
    if (this.sessions.get(name) === session) this.sessions.delete(name);
    // Cuts the connection when a statement is still running in it.
    void session.close();
    return "none";
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
