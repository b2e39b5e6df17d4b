import type { Session } from "../ports/databases.ts";

/**
 * Keeps `statement_timeout` at what is left of the budget, without a round trip for each small table: it is
 * set again only when it would let a statement overrun by more than a tenth.
 */
export class StatementLimit {
  private milliseconds: number;
  private readonly session: Session;

  constructor(session: Session, milliseconds: number) {
    this.session = session;
    this.milliseconds = milliseconds;
  }

  async ensure(remainingMilliseconds: number): Promise<void> {
    const wanted = Math.max(1, Math.ceil(remainingMilliseconds));
    if (this.milliseconds <= wanted * 1.1) return;
    await this.session.query("select set_config('statement_timeout', $1, false)", [String(wanted)]);
    this.milliseconds = wanted;
  }
}
