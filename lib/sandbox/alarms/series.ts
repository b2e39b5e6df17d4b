import type { Alarm, MetricReference } from "../../alarms/alarm.ts";
import { awsMetric } from "../../alarms/aws-metrics.ts";

/**
 * One series of the sandbox: which metric of the catalogue, measured of what. Dimensions of `aws` are
 * `{ Server }` for a server, `{ Proxy }` with its server's name for a proxy, `{ CacheNode }` for a node of a cache
 * and none for the account; those of `pgkeep` are the ones of `metrics.ts`; `log` has none.
 */
export interface SeriesId {
  from: "aws" | "pgkeep" | "log";
  metric: string;
  dimensions: Readonly<Record<string, string>>;
}

export interface Datum {
  atMilliseconds: number;
  value: number;
}

export interface SeriesStore {
  add(id: SeriesId, datum: Datum): void;
  /** Oldest first, of the half-open time [from, to). */
  between(id: SeriesId, fromMilliseconds: number, toMilliseconds: number): readonly Datum[];
  /** The newest. */
  last(id: SeriesId): Datum | undefined;
}

/** Names of the servers of which one is the writer; a Multi-AZ cluster has three, everything else one. */
export type Writers = readonly string[];

export const onlyPrimary: Writers = ["primary"];

/** Longest time that an alarm of the catalogue looks back, with the points that CloudWatch retrieves beside it. */
const longestLookMilliseconds = 15 * 86_400_000;

/** Series in memory. What is older than `keepMilliseconds` before the newest datum of its series is let go. */
export function memorySeries(options: { keepMilliseconds?: number } = {}): SeriesStore {
  const keep = options.keepMilliseconds ?? longestLookMilliseconds;
  const all = new Map<string, Datum[]>();
  return {
    add(id, datum) {
      const key = keyOf(id);
      const data = all.get(key) ?? [];
      all.set(key, data);
      data.splice(firstAfter(data, datum.atMilliseconds), 0, datum);
      const newest = data[data.length - 1]?.atMilliseconds ?? 0;
      const gone = firstAt(data, newest - keep);
      // Not one by one: a long series would be moved with each datum.
      if (gone > 1024 || gone > data.length / 2) data.splice(0, gone);
    },
    between(id, from, to) {
      const data = all.get(keyOf(id)) ?? [];
      return data.slice(firstAt(data, from), firstAt(data, to));
    },
    last: (id) => all.get(keyOf(id))?.at(-1),
  };
}

/** The evaluator asks with the same objects each minute. */
const keys = new WeakMap<SeriesId, string>();

function keyOf(id: SeriesId): string {
  const known = keys.get(id);
  if (known !== undefined) return known;
  const sorted = Object.entries(id.dimensions).sort(([one], [other]) => (one < other ? -1 : 1));
  const key = JSON.stringify([id.from, id.metric, sorted]);
  keys.set(id, key);
  return key;
}

/** Index of the first datum at this time or later. */
function firstAt(data: readonly Datum[], atMilliseconds: number): number {
  let low = 0;
  let high = data.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((data[middle]?.atMilliseconds ?? 0) < atMilliseconds) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Index of the first datum after this time; data mostly come in order, so that it is looked for from the end. */
function firstAfter(data: readonly Datum[], atMilliseconds: number): number {
  let index = data.length;
  while (index > 0 && (data[index - 1]?.atMilliseconds ?? 0) > atMilliseconds) index -= 1;
  return index;
}

/** Every series that an alarm reads. */
export function seriesOf(alarm: Alarm, writers: Writers = onlyPrimary): readonly SeriesId[] {
  const { source } = alarm;
  const references = source.kind === "metric" ? [source.metric] : [source.part, ...source.whole];
  const ids = references.flatMap((reference) => seriesOfReference(reference, alarm, writers));
  return [...new Map(ids.map((id) => [keyOf(id), id])).values()];
}

/** The series that one metric of an alarm means: that of each server which may be the writer, else one. */
export function seriesOfReference(
  reference: MetricReference,
  { subject }: Pick<Alarm, "subject">,
  writers: Writers = onlyPrimary,
): readonly SeriesId[] {
  const { from, metric } = reference;
  const measuring = (...dimensions: Record<string, string>[]): SeriesId[] =>
    dimensions.map((one) => ({ from, metric, dimensions: one }));
  if (reference.from === "pgkeep") return measuring(reference.dimensions);
  if (reference.from === "log") return measuring({});
  switch (awsMetric(reference.metric).of) {
    case "account":
      return measuring({});
    case "cache-node":
      return measuring({ CacheNode: subject?.name ?? "" });
    case "proxy":
    case "proxy-writer":
      return measuring({ Proxy: "primary" });
    case "server":
      return subject?.kind === "replica" || subject?.kind === "server"
        ? measuring({ Server: subject.name })
        : measuring(...writers.map((name) => ({ Server: name })));
  }
}
