import { open, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import {
  parseHistory,
  parseSegmentName,
  type Segment,
  segmentAt,
  segmentName,
  type TimelineSwitch,
} from "./wal-names.ts";

/** Where archived segments lie and what they must look like. */
export interface Archive {
  /** Looked through in this order: the archive, then what could be saved from a dead primary. */
  directories: readonly string[];
  segmentBytes: number;
  /** `pg_control_system().system_identifier`: WAL of another cluster is as good as none. */
  systemIdentifier: string;
}

export interface Coverage {
  /** Every segment from the start that is there without a gap, oldest first. */
  segments: string[];
  /** First segment that is missing although later ones exist. */
  missing?: string;
  /** Newest segment in the archive, beyond the gap when there is one. */
  newest?: string;
  /** Where each file of the archive is. */
  paths: ReadonlyMap<string, string>;
}

/**
 * Which WAL the archive holds from `start` on, along the newest timeline that descends from it, as recovery
 * with `recovery_target_timeline = 'latest'` reads it.
 */
export async function coverage(archive: Archive, start: Segment): Promise<Coverage> {
  const names = await listNames(archive);
  const path = await timelinePath(names, start.timeline);
  const last = newestOn(path, names, archive.segmentBytes, start);
  const found: Coverage = { segments: [], paths: names };
  if (last === undefined) return { ...found, missing: segmentName(start, archive.segmentBytes) };
  found.newest = last.name;
  for (let number = start.number; number <= last.number; number++) {
    const name = nameOn(path, names, archive.segmentBytes, number);
    if (name === undefined) {
      found.missing = segmentName(
        { timeline: timelineAt(path, archive.segmentBytes, number), number },
        archive.segmentBytes,
      );
      break;
    }
    found.segments.push(name);
  }
  return found;
}

/** What is wrong with one archived segment, or undefined. Reads only its first page and its size. */
export async function segmentProblem(archive: Archive, name: string): Promise<string | undefined> {
  const segment = parseSegmentName(name, archive.segmentBytes);
  if (segment === undefined) return "is not a WAL segment";
  const path = (await listNames(archive)).get(name);
  if (path === undefined) return "is missing from the archive";
  return fileProblem(path, segment, archive);
}

/** What is wrong with a file that should be this segment, or undefined. */
export async function fileProblem(
  path: string,
  segment: Segment,
  archive: Pick<Archive, "segmentBytes" | "systemIdentifier">,
): Promise<string | undefined> {
  const file = await open(path, "r");
  try {
    const { size } = await file.stat();
    if (size !== archive.segmentBytes) return `has ${size} bytes instead of ${archive.segmentBytes}`;
    // XLogLongPageHeaderData (xlog_internal.h): magic, info, timeline, address, rest, system id, segment size.
    const header = Buffer.alloc(40);
    await file.read(header, 0, header.length, 0);
    if (header.readUInt16LE(0) === 0) return "holds zeroes instead of WAL";
    const address = header.readBigUInt64LE(8);
    if (address !== BigInt(segment.number) * BigInt(archive.segmentBytes))
      return "holds WAL of another position";
    const system = header.readBigUInt64LE(24).toString();
    if (system !== archive.systemIdentifier)
      return `holds WAL of another cluster (system identifier ${system})`;
    return undefined;
  } finally {
    await file.close();
  }
}

/** Each file's name and where it is. */
type Names = ReadonlyMap<string, string>;

async function listNames(archive: Archive): Promise<Names> {
  const names = new Map<string, string>();
  for (const directory of archive.directories) {
    for (const name of await readDirectory(directory)) {
      if (!names.has(name)) names.set(name, join(directory, name));
    }
  }
  return names;
}

async function readDirectory(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

/** The timelines from the backup's own to the newest that descends from it; the last has no end. */
async function timelinePath(
  names: Names,
  from: number,
): Promise<(TimelineSwitch | { timeline: number; endLsn: undefined })[]> {
  const timelines = [...names.keys()]
    .flatMap((name) => (/^[0-9A-F]{8}\.history$/.test(name) ? [Number.parseInt(name.slice(0, 8), 16)] : []))
    .filter((timeline) => timeline > from)
    .sort((a, b) => b - a);
  for (const timeline of timelines) {
    const file = `${timeline.toString(16).toUpperCase().padStart(8, "0")}.history`;
    const before = parseHistory(await readFile(names.get(file) as string, "utf8"));
    const own = before.findIndex((entry) => entry.timeline === from);
    if (own >= 0) return [...before.slice(own), { timeline, endLsn: undefined }];
  }
  return [{ timeline: from, endLsn: undefined }];
}

type Path = Awaited<ReturnType<typeof timelinePath>>;

/** The newest timeline that may hold this segment first: it repeats what its parent wrote in the segment of the switch. */
function nameOn(path: Path, names: Names, segmentBytes: number, number: number): string | undefined {
  for (let index = path.length - 1; index >= 0; index--) {
    const before = path[index - 1];
    if (before?.endLsn !== undefined && segmentAt(before.endLsn, segmentBytes) > number) continue;
    const timeline = path[index]?.timeline as number;
    const name = segmentName({ timeline, number }, segmentBytes);
    if (names.has(name)) return name;
  }
  return undefined;
}

function timelineAt(path: Path, segmentBytes: number, number: number): number {
  for (let index = path.length - 1; index > 0; index--) {
    const before = path[index - 1];
    if (before?.endLsn !== undefined && segmentAt(before.endLsn, segmentBytes) <= number) {
      return path[index]?.timeline as number;
    }
  }
  return path[0]?.timeline as number;
}

function newestOn(
  path: Path,
  names: Names,
  segmentBytes: number,
  start: Segment,
): { name: string; number: number } | undefined {
  const timelines = new Map(path.map((entry) => [entry.timeline, entry.endLsn]));
  let newest: { name: string; number: number } | undefined;
  for (const name of names.keys()) {
    const segment = parseSegmentName(name, segmentBytes);
    if (segment === undefined || !timelines.has(segment.timeline) || segment.number < start.number) continue;
    const end = timelines.get(segment.timeline);
    if (end !== undefined && segment.number > segmentAt(end, segmentBytes)) continue;
    if (newest === undefined || segment.number > newest.number) newest = { name, number: segment.number };
  }
  return newest;
}
