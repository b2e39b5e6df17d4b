import { errorMessage, PgkeepError } from "../errors.ts";
import { hasSqlState } from "../postgres/errors.ts";
import { SqlState } from "../postgres/sqlstate.ts";

/** One thing that a drill found out about the restored data. */
export type Proof = {
  name: string;
  ok: boolean;
  detail: string;
};

/** What a collector knows, small enough to be handed on: not proofs, which are made anew. */
export type CollectorState = {
  gaps: string[];
  broken: string[];
  /** Why objects could not be looked at: the reason, the first object, how many. */
  reasons: [string, string, number][];
};

const shown = 5;

/** Gaps, broken objects and reasons that are handed on one by one. */
const kept = 25;

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
  private readonly reasons = new Map<string, { first: string; count: number }>();

  constructor(state?: CollectorState) {
    this.gaps.push(...(state?.gaps ?? []));
    this.broken.push(...(state?.broken ?? []));
    for (const [reason, first, count] of state?.reasons ?? []) this.reasons.set(reason, { first, count });
  }

  /** For the next execution; beyond a few of a kind, only how many more there are. */
  state(): CollectorState {
    const reasons = [...this.reasons].map(([reason, { first, count }]): [string, string, number] => [
      reason.slice(0, longest),
      first.slice(0, longest),
      count,
    ]);
    const rest = reasons.slice(kept);
    const others = rest.reduce((sum, [, , count]) => sum + count, 0);
    return {
      gaps: bounded(this.gaps),
      broken: bounded(this.broken),
      reasons:
        rest.length === 0
          ? reasons
          : [...reasons.slice(0, kept), ["other reasons", rest[0]?.[1] ?? "", others]],
    };
  }

  /** Takes over what another collector has gathered. */
  absorb(other: ProofCollector): void {
    this.gaps.push(...other.gaps);
    this.broken.push(...other.broken);
    for (const [reason, { first, count }] of other.reasons) {
      for (let n = 0; n < count; n += 1) this.note(first, reason);
    }
  }

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
    const grouped = [...this.reasons].map(([reason, { first, count }]) =>
      count === 1 ? `${first}: ${reason}` : `${first} and ${count - 1} more: ${reason}`,
    );
    return [...this.gaps, ...grouped];
  }

  /** One object that could not be looked at, and why. */
  note(object: string, reason: string): void {
    const known = this.reasons.get(reason);
    if (known === undefined) this.reasons.set(reason, { first: object, count: 1 });
    else known.count += 1;
  }
}

/** Characters of one text that is handed on. */
const longest = 150;

function bounded(texts: readonly string[]): string[] {
  const all = texts.map((text) => text.slice(0, 2 * longest));
  if (all.length <= kept) return all;
  return [...all.slice(0, kept - 1), `and ${all.length - kept + 1} more`];
}
