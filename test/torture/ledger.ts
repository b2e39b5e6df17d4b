import type { Session } from "../../lib/ports/databases.ts";
import { type ConnectionTarget, connect } from "../../lib/postgres/connect.ts";
import type { Random } from "../../lib/sandbox/application/random.ts";

/** What a client knows about one row that it tried to write. Times are the client's, in milliseconds. */
interface Attempt {
  amount: number;
  /** Just before the statement was sent. */
  startedAt: number;
  /** Just after the server acknowledged it; undefined when it never did. */
  acknowledgedAt?: number;
  /** The client rolled it back: it must never be seen. */
  rolledBack: boolean;
}

const writers = 4;

/**
 * Clients that write rows and keep book of what they were told. Every row comes with a change of its writer's
 * balance in the same transaction, so a half recovered transaction shows as a sum that is off.
 */
export class Ledger {
  private readonly attempts = new Map<number, Attempt>();
  private nextId = 1;

  static async create(session: Session): Promise<Ledger> {
    await session.query("create table public.balance (writer int primary key, total bigint not null)");
    await session.query(
      `create table public.ledger (id int primary key, writer int not null, amount bigint not null,
                                   filler text not null)`,
    );
    await session.query("insert into public.balance select n, 0 from generate_series(1, $1::int) as n", [
      writers,
    ]);
    return new Ledger();
  }

  get size(): number {
    return this.attempts.size;
  }

  /** Writes until the signal is aborted or the server is gone; never rejects. */
  async write(target: ConnectionTarget, random: Random, signal: AbortSignal): Promise<void> {
    await Promise.all(
      Array.from({ length: writers }, async (_, index) => {
        try {
          const session = await connect(target);
          try {
            while (!signal.aborted) await this.writeOne(session, index + 1, random);
          } finally {
            await session.close();
          }
        } catch {
          // The server was killed: what was under way stays unacknowledged.
        }
      }),
    );
  }

  private async writeOne(session: Session, writer: number, random: Random): Promise<void> {
    const id = this.nextId++;
    const amount = random.integer(1, 1000);
    const rolledBack = random.fraction() < 0.1;
    const attempt: Attempt = { amount, startedAt: Date.now(), rolledBack };
    this.attempts.set(id, attempt);
    if (!rolledBack && random.fraction() < 0.5) {
      await session.query(
        `with row as (insert into public.ledger values ($1, $2, $3, repeat('x', $4)))
         update public.balance set total = total + $3 where writer = $2`,
        [id, writer, amount, random.integer(0, 2000)],
      );
    } else {
      await session.query("begin");
      await session.query("insert into public.ledger values ($1, $2, $3, '')", [id, writer, amount]);
      await session.query("update public.balance set total = total + $2 where writer = $1", [writer, amount]);
      await session.query(rolledBack ? "rollback" : "commit");
    }
    attempt.acknowledgedAt = Date.now();
  }

  /**
   * What is wrong with a database that claims to be the state at `time` (or the present state): one sentence
   * each, empty when nothing is. Rows under way at that moment may be there or not.
   */
  async problems(session: Session, time?: number): Promise<string[]> {
    const rows = await session.query<{ id: number; amount: number }>("select id, amount from public.ledger");
    const present = new Map(rows.map((row) => [row.id, row.amount]));
    const problems: string[] = [];
    for (const [id, attempt] of this.attempts) {
      const { acknowledgedAt, startedAt, rolledBack, amount } = attempt;
      const seen = present.get(id);
      present.delete(id);
      const told = `row ${id} (started ${startedAt}, acknowledged ${acknowledgedAt ?? "never"})`;
      // Both clocks are this machine's, cut to milliseconds: the true moment lies up to one later.
      const before = acknowledgedAt !== undefined && (time === undefined || acknowledgedAt + 1 <= time);
      const after = time !== undefined && startedAt > time;
      if (seen !== undefined && rolledBack) problems.push(`${told} is there although it was rolled back`);
      else if (seen === undefined && before && !rolledBack) problems.push(`${told} is lost`);
      else if (seen !== undefined && after) problems.push(`${told} is there although it is younger`);
      else if (seen !== undefined && seen !== amount)
        problems.push(`${told} has amount ${seen}, not ${amount}`);
    }
    for (const id of present.keys()) problems.push(`row ${id} was never written`);
    const torn = await session.query<{ writer: number; total: number; sum: number }>(
      `select b.writer, b.total, coalesce(sum(l.amount), 0)::bigint as sum
       from public.balance b left join public.ledger l using (writer) group by 1, 2
       having b.total <> coalesce(sum(l.amount), 0)`,
    );
    for (const { writer, total, sum } of torn) {
      problems.push(
        `writer ${writer} has a balance of ${total}, but rows for ${sum}: a transaction was torn`,
      );
    }
    return problems;
  }

  /** Rows that must be in the state at `time`: a trial in which there are none proves little. */
  acknowledgedBefore(time: number): number {
    return [...this.attempts.values()].filter(
      ({ acknowledgedAt, rolledBack }) => !rolledBack && (acknowledgedAt ?? time) + 1 <= time,
    ).length;
  }
}
