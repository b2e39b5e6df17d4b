/** A position in the write-ahead log, as a number of bytes since its beginning. */
export type Lsn = bigint;

/** `16/B374D848` → position. */
export function parseLsn(text: string): Lsn {
  const match = /^([0-9A-F]{1,8})\/([0-9A-F]{1,8})$/i.exec(text);
  if (match === null) throw new TypeError(`${JSON.stringify(text)} is not a WAL position`);
  return (BigInt(`0x${match[1]}`) << 32n) | BigInt(`0x${match[2]}`);
}

export interface Segment {
  timeline: number;
  /** Counts segments since the beginning of the log. */
  number: number;
}

const hex8 = (value: number) => value.toString(16).toUpperCase().padStart(8, "0");
const segmentsPerFile = (segmentBytes: number) => 0x1_0000_0000 / segmentBytes;

/** Name of the segment's file (`XLogFileName` in PostgreSQL's xlog_internal.h). */
export function segmentName({ timeline, number }: Segment, segmentBytes: number): string {
  const per = segmentsPerFile(segmentBytes);
  return hex8(timeline) + hex8(Math.floor(number / per)) + hex8(number % per);
}

/** What `segmentName` made, or undefined for any other file. */
export function parseSegmentName(name: string, segmentBytes: number): Segment | undefined {
  if (!/^[0-9A-F]{24}$/.test(name)) return undefined;
  const low = Number.parseInt(name.slice(16), 16);
  const per = segmentsPerFile(segmentBytes);
  if (low >= per) return undefined;
  return {
    timeline: Number.parseInt(name.slice(0, 8), 16),
    number: Number.parseInt(name.slice(8, 16), 16) * per + low,
  };
}

/** The segment that holds this position. */
export function segmentAt(lsn: Lsn, segmentBytes: number): number {
  return Number(lsn / BigInt(segmentBytes));
}

/** The last segment that is needed to replay up to, not including, this position. */
export function segmentBefore(lsn: Lsn, segmentBytes: number): number {
  return lsn === 0n ? 0 : segmentAt(lsn - 1n, segmentBytes);
}

export interface TimelineSwitch {
  timeline: number;
  /** Where the next timeline left this one. */
  endLsn: Lsn;
}

/** Reads a `.history` file: the timelines before this one, oldest first. */
export function parseHistory(text: string): TimelineSwitch[] {
  const switches: TimelineSwitch[] = [];
  for (const line of text.split("\n")) {
    const match = /^\s*(\d+)\s+([0-9A-F]+\/[0-9A-F]+)/i.exec(line);
    if (match === null) continue;
    switches.push({ timeline: Number(match[1]), endLsn: parseLsn(match[2] as string) });
  }
  return switches;
}
