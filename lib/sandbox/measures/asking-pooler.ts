import type { ConsoleRow, ConsoleView, PoolerConsole } from "../../ports/pooler-console.ts";
import { consoleDatabase, openPoolerConsole } from "../../postgres/pooler-console.ts";
import type { PoolerState } from "../state.ts";

const answerMilliseconds = 1_000;

/** One login to PgBouncer's console, kept from one measuring to the next: it costs more than all that is asked. */
export class AskingPooler {
  private kept: { pid: number; console: PoolerConsole } | undefined;

  /** The rows of each view, of other databases than the console's own; undefined when PgBouncer does not answer. */
  readonly ask = async (
    pooler: PoolerState,
    views: readonly ConsoleView[],
  ): Promise<ConsoleRow[][] | undefined> => {
    const answer = await this.read(pooler, views);
    if (answer === undefined) await this.close();
    return answer;
  };

  async close(): Promise<void> {
    const { kept } = this;
    this.kept = undefined;
    await kept?.console.close();
  }

  private async read(
    pooler: PoolerState,
    views: readonly ConsoleView[],
  ): Promise<ConsoleRow[][] | undefined> {
    try {
      if (this.kept?.pid !== pooler.pid) {
        await this.close();
        const console = await open(pooler);
        if (console === undefined) return undefined;
        this.kept = { pid: pooler.pid, console };
      }
      const found: ConsoleRow[][] = [];
      // One after the other: the console answers nothing else meanwhile.
      for (const view of views) {
        const rows = (await this.kept.console.show(view)) ?? [];
        found.push(rows.filter(({ database }) => database !== consoleDatabase));
      }
      return found;
    } catch {
      return undefined;
    }
  }
}

async function open({ port, statsLogin }: PoolerState): Promise<PoolerConsole | undefined> {
  if (statsLogin === undefined) return undefined;
  return openPoolerConsole(
    {
      host: "127.0.0.1",
      port,
      database: consoleDatabase,
      ...statsLogin,
      connectTimeoutMilliseconds: answerMilliseconds,
    },
    { queryTimeoutMilliseconds: answerMilliseconds },
  );
}
