import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Archive, coverage, segmentProblem } from "../../lib/sandbox/wal-archive.ts";
import {
  parseHistory,
  parseLsn,
  parseSegmentName,
  segmentAt,
  segmentBefore,
  segmentName,
} from "../../lib/sandbox/wal-names.ts";

const megabyte = 1 << 20;

describe("names of WAL segments", () => {
  it("are what pg_walfile_name gives", () => {
    expect(
      segmentName({ timeline: 1, number: segmentAt(parseLsn("16/B374D848"), 16 * megabyte) }, 16 * megabyte),
    ).toBe("0000000100000016000000B3");
    expect(segmentName({ timeline: 0x1a, number: segmentAt(parseLsn("1/0"), megabyte) }, megabyte)).toBe(
      "0000001A0000000100000000",
    );
  });

  it("are read back, for every segment size", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 0xffffffff }),
        fc.nat(1e9),
        fc.constantFrom(1, 4, 16, 64, 1024),
        (timeline, number, size) => {
          const bytes = size * megabyte;
          expect(parseSegmentName(segmentName({ timeline, number }, bytes), bytes)).toEqual({
            timeline,
            number,
          });
        },
      ),
    );
  });

  it("are not taken from other files", () => {
    for (const name of [
      "00000002.history",
      "000000010000000000000002.00000028.backup",
      "000000010000000000000002.partial",
      "0000000100000000000001FF",
      "archive_status",
    ]) {
      expect(parseSegmentName(name, 16 * megabyte)).toBeUndefined();
    }
  });

  it("a position at a boundary belongs to the next segment, what precedes it to the one before", () => {
    const boundary = parseLsn("0/3000000");
    expect(segmentAt(boundary, 16 * megabyte)).toBe(3);
    expect(segmentBefore(boundary, 16 * megabyte)).toBe(2);
    expect(segmentBefore(boundary + 1n, 16 * megabyte)).toBe(3);
  });

  it("a history file lists the timelines before", () => {
    expect(parseHistory("1\t0/3000148\tno recovery target specified\n\n2\t0/5000000\tbefore 2026\n")).toEqual(
      [
        { timeline: 1, endLsn: parseLsn("0/3000148") },
        { timeline: 2, endLsn: parseLsn("0/5000000") },
      ],
    );
  });
});

describe("what an archive covers", () => {
  let directory = "";
  const archive = (): Archive => ({
    directories: [directory],
    segmentBytes: megabyte,
    systemIdentifier: "7000000000000000001",
  });
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "pgkeep-wal-"));
  });
  afterEach(() => rm(directory, { recursive: true }));
  const name = (timeline: number, number: number) => segmentName({ timeline, number }, megabyte);
  const put = (...names: string[]) => Promise.all(names.map((each) => writeFile(join(directory, each), "")));
  const covers = async (timeline: number, number: number) => {
    const { segments, missing, newest } = await coverage(archive(), { timeline, number });
    return { segments, missing, newest };
  };

  it("is every segment until the first gap, which is named", async () => {
    await put(name(1, 2), name(1, 3), name(1, 5), name(1, 1));
    expect(await covers(1, 2)).toEqual({
      segments: [name(1, 2), name(1, 3)],
      missing: name(1, 4),
      newest: name(1, 5),
    });
    expect(await covers(1, 5)).toEqual({ segments: [name(1, 5)], missing: undefined, newest: name(1, 5) });
    expect(await covers(1, 6)).toEqual({ segments: [], missing: name(1, 6), newest: undefined });
  });

  it("follows the newest timeline that descends from the backup's, and no other", async () => {
    await put(name(1, 2), name(1, 3), name(1, 4), name(2, 3), name(2, 4), name(3, 3), name(3, 4), name(3, 5));
    // 2 left 1 inside segment 3; 3 left 1 there as well and is the newest; 4 is of another cluster.
    await writeFile(join(directory, "00000002.history"), "1\t0/3000A0\tx\n");
    await writeFile(join(directory, "00000003.history"), "1\t0/3000A0\tx\n");
    await writeFile(join(directory, "00000004.history"), "9\t0/3000A0\tx\n");
    expect(await covers(1, 2)).toEqual({
      segments: [name(1, 2), name(3, 3), name(3, 4), name(3, 5)],
      missing: undefined,
      newest: name(3, 5),
    });
    expect((await covers(2, 3)).segments).toEqual([name(2, 3), name(2, 4)]);
  });

  it("uses the parent's copy of the segment in which the timelines part", async () => {
    await put(name(1, 2), name(1, 3), name(2, 4));
    await writeFile(join(directory, "00000002.history"), "1\t0/3000A0\tx\n");
    expect((await covers(1, 2)).segments).toEqual([name(1, 2), name(1, 3), name(2, 4)]);
  });

  it("says what is wrong with a segment", async () => {
    const header = Buffer.alloc(megabyte);
    header.writeUInt16LE(0xd116, 0);
    header.writeBigUInt64LE(BigInt(2 * megabyte), 8);
    header.writeBigUInt64LE(7000000000000000001n, 24);
    const write = (content: Buffer) => writeFile(join(directory, name(1, 2)), content);
    const problem = () => segmentProblem(archive(), name(1, 2));
    expect(await problem()).toBe("is missing from the archive");
    await write(header);
    expect(await problem()).toBeUndefined();
    await write(header.subarray(0, 1000));
    expect(await problem()).toBe(`has 1000 bytes instead of ${megabyte}`);
    await write(Buffer.alloc(megabyte));
    expect(await problem()).toBe("holds zeroes instead of WAL");
    const moved = Buffer.from(header);
    moved.writeBigUInt64LE(BigInt(3 * megabyte), 8);
    await write(moved);
    expect(await problem()).toBe("holds WAL of another position");
    const foreign = Buffer.from(header);
    foreign.writeBigUInt64LE(42n, 24);
    await write(foreign);
    expect(await problem()).toBe("holds WAL of another cluster (system identifier 42)");
  });
});
