import type { Session } from "../../ports/databases.ts";
import { connect } from "../../postgres/connect.ts";
import type { SandboxState, ServerState } from "../state.ts";

/** A server that takes longer is one that does not answer. */
const answerMilliseconds = 1_500;
const lockMilliseconds = 100;

/** One session with each server that is asked, for the time of one measuring. */
export class Asking {
  private readonly state: Pick<SandboxState, "superuser">;
  private readonly sessions = new Map<string, Promise<Session | undefined>>();
  private readonly turns = new Map<string, Promise<unknown>>();
  private readonly signal = AbortSignal.timeout(answerMilliseconds);

  constructor(state: Pick<SandboxState, "superuser">) {
    this.state = state;
  }

  /** The rows, or undefined when the server does not answer in time or refuses. One statement after the other. */
  readonly ask = async <Row>(
    server: ServerState,
    sql: string,
    values?: readonly unknown[],
  ): Promise<Row[] | undefined> => {
    const session = this.sessions.get(server.name) ?? this.open(server);
    this.sessions.set(server.name, session);
    const turn = (this.turns.get(server.name) ?? Promise.resolve()).then(async () =>
      (await session)?.query<Row>(sql, values),
    );
    const answer = turn.catch(() => undefined);
    this.turns.set(server.name, answer);
    return answer;
  };

  async close(): Promise<void> {
    await Promise.all(
      [...this.sessions.values()].map(async (session) => {
        // A server that is stopped in the middle says no goodbye.
        let timer: NodeJS.Timeout | undefined;
        const enough = new Promise((resolve) => {
          timer = setTimeout(resolve, 200);
        });
        await Promise.race([session.then((open) => open?.close()), enough]);
        clearTimeout(timer);
      }),
    );
  }

  private open({ port }: ServerState): Promise<Session | undefined> {
    const { signal } = this;
    return connect(
      {
        host: "127.0.0.1",
        port,
        database: "postgres",
        ...this.state.superuser,
        applicationName: "pgkeep measures",
        connectTimeoutMilliseconds: 1_000,
      },
      {
        statementTimeoutMilliseconds: answerMilliseconds,
        lockTimeoutMilliseconds: lockMilliseconds,
        signal,
      },
    ).catch(() => undefined);
  }
}
