import { setTimeout as delay } from "node:timers/promises";
import { PgkeepError } from "../../errors.ts";
import type { Session } from "../../ports/databases.ts";
import { connect } from "../../postgres/connect.ts";
import type { Login, SandboxState } from "../state.ts";

/** A connection of any kind that ends when it is told to. */
export interface Closable {
  close(): Promise<void>;
}

interface Loop {
  stop: AbortController;
  ended: Promise<void>;
}

/**
 * Sessions that faults keep open, and loops that faults keep going. The server's own list tells which of them still live: each has its fault's
 * name as application name, so that a crash in between leaves no wrong memory.
 */
export class HeldSessions {
  private readonly sessions = new Map<string, Closable[]>();
  private readonly loops = new Map<string, Loop[]>();

  /**
   * Opens a session on the primary, or on the server given, that no timeout ends, and keeps it for `fault`.
   * @throws PgkeepError as `connect` does
   */
  async open(
    fault: string,
    state: SandboxState,
    login: Login,
    port: number = state.primary.port,
  ): Promise<Session> {
    const session = await connect(
      { ...primaryOf(state), ...login, port, applicationName: sessionName(fault) },
      { statementTimeoutMilliseconds: 0, lockTimeoutMilliseconds: 0 },
    );
    this.keep(fault, session);
    await session.query(
      `select set_config(name, '0', false) from pg_settings
        where name in ('idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout')`,
    );
    return session;
  }

  /** Keeps a connection for `fault` that was opened otherwise, under the fault's name as application name. */
  keep(fault: string, connection: Closable): void {
    this.sessions.set(fault, [...(this.sessions.get(fault) ?? []), connection]);
  }

  /**
   * Has `body` go on for `fault` until it ends by itself, the fault is repaired or the sandbox ends. An error
   * ends it without a word: its session or the server is gone.
   */
  goOn(fault: string, signal: AbortSignal, body: (signal: AbortSignal) => Promise<void>): void {
    const stop = new AbortController();
    const loop: Loop = { stop, ended: Promise.resolve() };
    loop.ended = body(AbortSignal.any([signal, stop.signal]))
      .catch(() => {})
      .finally(() => {
        const others = (this.loops.get(fault) ?? []).filter((other) => other !== loop);
        if (others.length > 0) this.loops.set(fault, others);
        else this.loops.delete(fault);
      });
    this.loops.set(fault, [...(this.loops.get(fault) ?? []), loop]);
  }

  /** Whether a loop of this fault goes on. */
  goesOn(fault: string): boolean {
    return this.loops.has(fault);
  }

  /** Ends the loops of this fault, each after the step that it is in, and tells whether there were any. */
  async stop(fault: string): Promise<boolean> {
    const loops = this.loops.get(fault) ?? [];
    for (const { stop } of loops) stop.abort();
    await Promise.all(loops.map(({ ended }) => ended));
    return loops.length > 0;
  }

  /** Process ids of this fault's sessions that the primary, or the server given, still has. */
  async pids(fault: string, state: SandboxState, port: number = state.primary.port): Promise<number[]> {
    return withSuperuser(
      state,
      async (session) => {
        const rows = await session.query<{ pid: number }>(
          "select pid from pg_stat_activity where application_name = $1 order by backend_start, pid",
          [sessionName(fault)],
        );
        return rows.map(({ pid }) => pid);
      },
      port,
    );
  }

  /**
   * Ends this fault's loops and its sessions on the primary, or on the server given, whatever they do there, and
   * resolves to how many of these there were.
   */
  async end(fault: string, state: SandboxState, port: number = state.primary.port): Promise<number> {
    const stopping = this.stop(fault);
    // A step that waits for somebody's lock ends with its session.
    const ended = await terminate(fault, state, port);
    const opened = (await stopping) ? await terminate(fault, state, port) : 0;
    await this.forget(fault);
    return ended + opened;
  }

  /** Ends every loop and closes our ends of every session. */
  async close(): Promise<void> {
    const loops = [...this.loops.keys()].map((fault) => this.stop(fault));
    await Promise.all([...this.sessions.keys()].map((fault) => this.forget(fault)));
    await Promise.all(loops);
    // What a loop opened in its last step.
    await Promise.all([...this.sessions.keys()].map((fault) => this.forget(fault)));
  }

  private async forget(fault: string): Promise<void> {
    const sessions = this.sessions.get(fault) ?? [];
    this.sessions.delete(fault);
    await Promise.all(sessions.map((session) => session.close()));
  }
}

/** Ends the fault's sessions on that server and resolves to how many there were, when they are gone. */
function terminate(fault: string, state: SandboxState, port: number): Promise<number> {
  return withSuperuser(
    state,
    async (session) => {
      const ended = new Set<number>();
      // Their locks are free when they are gone, not when they were told to go; another may just be coming.
      for (let attempt = 0; attempt < 500; attempt++) {
        const left = await session.query<{ pid: number }>(
          "select pid, pg_terminate_backend(pid) from pg_stat_activity where application_name = $1",
          [sessionName(fault)],
        );
        if (left.length === 0) return ended.size;
        for (const { pid } of left) ended.add(pid);
        await delay(10);
      }
      throw new PgkeepError("timeout", `a session of the fault ${fault} did not end within 5 s`);
    },
    port,
  );
}

/** Fits into the 63 bytes of an application name. */
export function sessionName(fault: string): string {
  return `pgkeep fault ${fault}`;
}

/** The application's database on the primary, without a login. */
export function primaryOf(state: SandboxState): { host: string; port: number; database: string } {
  return { host: "127.0.0.1", port: state.primary.port, database: state.database };
}

/** Runs `body` as superuser on the primary, or on the server given. @throws PgkeepError `unreachable` */
export async function withSuperuser<T>(
  state: SandboxState,
  body: (session: Session) => Promise<T>,
  port: number = state.primary.port,
): Promise<T> {
  const session = await connect({ ...primaryOf(state), ...state.superuser, port });
  try {
    return await body(session);
  } finally {
    await session.close();
  }
}
