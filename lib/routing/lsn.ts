/** A position in the WAL as PostgreSQL writes it: `16/B374D848`. */
export type Lsn = string;

/** Bytes of WAL from `from` up to `to`; negative when `to` is the earlier one. */
export function walBytesBetween(from: Lsn, to: Lsn): number {
  return Number(position(to) - position(from));
}

/** The furthest of these positions; null when there is none. */
export function furthest(positions: readonly (Lsn | null)[]): Lsn | null {
  return positions.reduce((best, lsn) => {
    if (lsn === null) return best;
    return best === null || position(lsn) > position(best) ? lsn : best;
  }, null);
}

function position(lsn: Lsn): bigint {
  const parts = /^([0-9A-Fa-f]{1,8})\/([0-9A-Fa-f]{1,8})$/.exec(lsn);
  if (parts === null) throw new RangeError(`${JSON.stringify(lsn)} is not a position in the WAL`);
  return (BigInt(`0x${parts[1]}`) << 32n) | BigInt(`0x${parts[2]}`);
}
