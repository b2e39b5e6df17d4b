import type { FileHandle } from "node:fs/promises";
import { pageBytes } from "../page-checksum.ts";

const damagedBytes = 64;

/** Where in its file a heap page is damaged, and what was there. */
export interface PageDamage {
  /** From the beginning of the file. */
  offset: number;
  original: Buffer;
}

/** Tuples begin at pd_upper (bufpage.h): header and first columns of the newest tuple of the page. */
export async function planDamage(file: FileHandle, block: number): Promise<PageDamage> {
  const page = Buffer.alloc(pageBytes);
  await file.read(page, 0, pageBytes, block * pageBytes);
  const upper = Math.min(page.readUInt16LE(14), pageBytes - damagedBytes);
  return {
    offset: block * pageBytes + upper,
    original: Buffer.from(page.subarray(upper, upper + damagedBytes)),
  };
}

/** Flips every bit there. */
export async function inflict(file: FileHandle, { offset, original }: PageDamage): Promise<void> {
  const flipped = original.map((byte) => byte ^ 0xff);
  await file.write(flipped, 0, flipped.length, offset);
}
