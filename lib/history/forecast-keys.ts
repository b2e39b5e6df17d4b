import type { Session } from "../ports/databases.ts";
import { extrapolate, type Forecast } from "./extrapolate.ts";
import { dayText } from "./growth.ts";
import { type KeyColumn, type NarrowReference, readKeyColumns, readNarrowReferences } from "./keys.ts";
import { type DaySample, readable, readTableHistory } from "./read.ts";
import { sinceLastFall } from "./trend.ts";

/** Keys that are followed: those with the largest share of their range used. */
const followed = 200;

/** One thing that a key's values must fit in. */
interface Bound {
  key: KeyColumn;
  schema: string;
  table: string;
  column: string;
  /** Distance from zero, in the sequence's direction. */
  limit: number;
  basis: string;
}

/**
 * Keys that sequences fill, against the smaller of the column's type and the sequence's end; and columns that refer to
 * such a key and have a smaller type, against theirs. Where the values come from elsewhere, nothing is known.
 */
export async function forecastKeys(
  session: Session,
  days: readonly DaySample[],
): Promise<{ columns: number; forecasts: Forecast[] }> {
  const keys = await readKeyColumns(session);
  const references = await readNarrowReferences(session);
  const bounds = [...keys.flatMap(boundOf), ...references.flatMap((one) => boundOfReference(one, keys))];
  const [first] = days;
  if (first === undefined || bounds.length === 0) return { columns: keys.length, forecasts: [] };
  const positions = await readNewestPositions(session);
  const positionOf = ({ key }: Bound) => positions.get(`${key.tableOid}/${key.number}`);
  const share = (bound: Bound) => directed(bound.key, positionOf(bound) ?? 0) / bound.limit;
  const chosen = bounds
    .filter((bound) => positionOf(bound) !== undefined)
    .sort((a, b) => share(b) - share(a))
    .slice(0, followed);
  const histories = await readTableHistory(session, {
    oids: [...new Set(chosen.map(({ key }) => key.tableOid))],
    sinceDay: first.day,
  });
  const present = new Map(
    histories.filter(({ goneDay }) => goneDay === null).map((history) => [history.oid, history]),
  );
  return {
    columns: keys.length,
    forecasts: chosen.map((bound) => {
      const samples = present.get(bound.key.tableOid)?.samples ?? [];
      const points = samples.flatMap(({ at, keys: known }) => {
        const value = known.find(({ number }) => number === bound.key.number)?.value;
        return value === undefined ? [] : [{ at, value: directed(bound.key, value) }];
      });
      return forecastBound(bound, points);
    }),
  };
}

function forecastBound(bound: Bound, points: readonly { at: number; value: number }[]): Forecast {
  const { schema, table, column, limit, basis, key } = bound;
  // A sequence only ever goes on; one that went back was set back, by a hand or a restore.
  const { points: recent, fell } = sinceLastFall(points, 0);
  const found = extrapolate(recent, {
    kind: "key",
    subject: `${schema}.${table}.${column}`,
    object: { schema, table, column },
    limit,
    limitBasis: basis,
    notes:
      fell === undefined
        ? []
        : [`its sequence went back on ${dayText(fell.at)}: only what came after counts`],
  });
  if (!key.cycles || bound.column !== key.column) return found;
  return {
    ...found,
    notes: [...found.notes, "the sequence starts again at its end, with values that may still be in use"],
  };
}

const directed = (key: KeyColumn, value: number) => (key.increment < 0 ? -value : value);

function boundOf(key: KeyColumn): Bound[] {
  const { schema, table, column, type, increment } = key;
  const [sequenceEnd, typeEnd] =
    increment < 0 ? [-key.sequenceSmallest, key.typeLargest + 1] : [key.sequenceLargest, key.typeLargest];
  const limit = Math.min(sequenceEnd, typeEnd);
  const basis = sequenceEnd < typeEnd ? `the end of sequence ${key.sequence}` : `the range of ${type}`;
  // A sequence that stays below zero, or counts down from above it, has an end that a share says nothing of.
  return limit > 0 ? [{ key, schema, table, column, limit, basis }] : [];
}

function boundOfReference(reference: NarrowReference, keys: readonly KeyColumn[]): Bound[] {
  const key = keys.find(
    ({ tableOid, number }) => tableOid === reference.referencedOid && number === reference.referencedNumber,
  );
  if (key === undefined) return [];
  const { schema, table, column, type, typeLargest } = reference;
  const basis = `the range of ${type}, of a column that refers to ${key.schema}.${key.table}.${key.column} of type ${key.type}`;
  return [{ key, schema, table, column, limit: key.increment < 0 ? typeLargest + 1 : typeLargest, basis }];
}

/** By table's oid and column's number. */
async function readNewestPositions(session: Session): Promise<Map<string, number>> {
  const rows = await readable(session, () =>
    session.query<{ oid: number; number: number; value: number }>(
      `select h.table_oid::int8 as oid, k.number::int as number, k.value
         from pgkeep.history_table h cross join lateral unnest(h.key_columns, h.key_values) as k (number, value)
        where h.gone_day is null`,
    ),
  );
  return new Map(rows.map(({ oid, number, value }) => [`${oid}/${number}`, value]));
}
