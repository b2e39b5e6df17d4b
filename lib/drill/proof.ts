import { errorMessage, PgkeepError } from "../errors.ts";
import { hasSqlState } from "../postgres/errors.ts";
import { SqlState } from "../postgres/sqlstate.ts";

/** One thing that a drill found out about the restored data. */
export type Proof = {
  name: string;
  ok: boolean;
  detail: string;
};

const shown = 5;

/** SQLSTATEs by which the server says that data is broken, not that we may not look. */
const corruption = [SqlState.dataCorrupted, SqlState.indexCorrupted, "58030", "58P01"];

/**
 * Gathers proofs. What could not be looked at is kept apart from what was fine: nothing counts as proved
 * because a function, a privilege or time was missing.
 */
export class ProofCollector {
  readonly proofs: Proof[] = [];
  readonly gaps: string[] = [];
  /** Objects that the server found broken while it read them. */
  readonly broken: string[] = [];
  private readonly reasons = new Map<string, string[]>();

  add(name: string, ok: boolean, detail: string): void {
    this.proofs.push({ name, ok, detail });
  }

  notAssessable(text: string): void {
    this.gaps.push(text);
  }

  /**
   * A proof over many objects: failed when one of them is broken, silent when none could be looked at
   * (the gaps say why).
   */
  verdict(name: string, checked: number, problems: readonly string[], fine: string): void {
    if (problems.length > 0) {
      const more = problems.length > shown ? `; and ${problems.length - shown} more` : "";
      this.add(name, false, problems.slice(0, shown).join("; ") + more);
    } else if (checked > 0) {
      this.add(name, true, fine);
    } else {
      this.notAssessable(`${name}: nothing could be checked`);
    }
  }

  /**
   * Runs one look at one object and resolves to undefined when the server refused: for a broken object that
   * goes to `broken`, else it becomes a gap.
   * @throws PgkeepError `unreachable` when the connection was lost
   */
  async attempt<T>(object: string, look: () => Promise<T>): Promise<T | undefined> {
    try {
      return await look();
    } catch (error) {
      if (!(error instanceof PgkeepError) || error.code === "unreachable") throw error;
      const message = errorMessage(error).replace(/^\S+:\d+\/.*? as [^:]+: /, "");
      if (hasSqlState(error, ...corruption)) this.broken.push(`${object}: ${message}`);
      else this.note(object, message);
      return undefined;
    }
  }

  /** Everything that could not be assessed; the same reason for many objects is one line. */
  allGaps(): string[] {
    const grouped = [...this.reasons].map(([reason, objects]) =>
      objects.length === 1
        ? `${objects[0]}: ${reason}`
        : `${objects[0]} and ${objects.length - 1} more: ${reason}`,
    );
    return [...this.gaps, ...grouped];
  }

  private note(object: string, reason: string): void {
    const known = this.reasons.get(reason);
    if (known === undefined) this.reasons.set(reason, [object]);
    else known.push(object);
  }
}
