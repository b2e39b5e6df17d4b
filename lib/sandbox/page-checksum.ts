/** BLCKSZ of every build that pgkeep starts. */
export const pageBytes = 8192;
const wordsPerPage = pageBytes / 4;
const sums = 32;
const prime = 16777619;

/** `checksumBaseOffsets` of PostgreSQL's src/include/storage/checksum_impl.h. */
const baseOffsets = Uint32Array.of(
  ...[0x5b1f36e9, 0xb8525960, 0x02ab50aa, 0x1de66d2a, 0x79ff467a, 0x9bb9f8a3, 0x217e7cd2, 0x83e13d2c],
  ...[0xf8d4474f, 0xe39eb970, 0x42c6ae16, 0x993216fa, 0x7b093b5d, 0x98daff3c, 0xf718902a, 0x0b1c9cdb],
  ...[0xe58f764b, 0x187636bc, 0x5d7b3bb1, 0xe73de7de, 0x92bec979, 0xcca6c0b2, 0x304a0979, 0x85aa43d4],
  ...[0x783125bb, 0x6ca8eaa2, 0xe407eac6, 0x4b5cfc3e, 0x9fbf8c76, 0x15ca20be, 0xf2ca9fd3, 0x959bd756],
);
const state = new Uint32Array(sums);

/**
 * `pg_checksum_page`: the checksum that belongs into the page's header when it is block `block` of its
 * relation. `words` is the page as little-endian 32-bit words, `first` the index of its first one.
 */
export function pageChecksum(words: Uint32Array, first: number, block: number): number {
  state.set(baseOffsets);
  for (let index = 0; index < wordsPerPage; index += sums) {
    for (let lane = 0; lane < sums; lane++) {
      let word = words[first + index + lane] as number;
      // pd_checksum is the lower half of the third word and counts as zero.
      if (index === 0 && lane === 2) word &= 0xffff0000;
      const mixed = (state[lane] as number) ^ word;
      state[lane] = Math.imul(mixed, prime) ^ (mixed >>> 17);
    }
  }
  let result = 0;
  for (let lane = 0; lane < sums; lane++) {
    let value = state[lane] as number;
    value = (Math.imul(value, prime) ^ (value >>> 17)) >>> 0;
    value = Math.imul(value, prime) ^ (value >>> 17);
    result ^= value;
  }
  return (((result ^ block) >>> 0) % 65535) + 1;
}

/**
 * Indexes of the pages in `bytes` that fail their checksum. New (empty) pages and pages changed since
 * `startLsn` are not judged: replaying WAL from there rewrites them whole (`basebackup.c` does the same).
 */
export function failingPages(bytes: Buffer, firstBlock: number, startLsn: bigint): number[] {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, Math.floor(bytes.length / 4));
  const failing: number[] = [];
  const pages = Math.floor(bytes.length / pageBytes);
  for (let page = 0; page < pages; page++) {
    const offset = page * pageBytes;
    const upper = bytes.readUInt16LE(offset + 14);
    if (upper === 0) continue;
    const lsn = (BigInt(bytes.readUInt32LE(offset)) << 32n) | BigInt(bytes.readUInt32LE(offset + 4));
    if (lsn >= startLsn) continue;
    if (pageChecksum(words, offset / 4, firstBlock + page) !== bytes.readUInt16LE(offset + 8))
      failing.push(page);
  }
  return failing;
}
