const alphabet = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";

/** Bech32 (BIP 173), in which age writes its keys. */
export function bech32Encode(prefix: string, bytes: Uint8Array): string {
  const data = regroup(bytes, 8, 5, true);
  const checksum = polymod([...expand(prefix), ...data, 0, 0, 0, 0, 0, 0]) ^ 1;
  const tail = [5, 4, 3, 2, 1, 0].map((position) => (checksum >>> (5 * position)) & 31);
  return `${prefix}1${[...data, ...tail].map((value) => alphabet[value]).join("")}`;
}

/** The bytes, or undefined when the text is no Bech32 with this prefix or has a typing error. */
export function bech32Decode(prefix: string, text: string): Buffer | undefined {
  if (text !== text.toLowerCase() && text !== text.toUpperCase()) return undefined;
  const lower = text.toLowerCase();
  if (!lower.startsWith(`${prefix}1`)) return undefined;
  const values = [...lower.slice(prefix.length + 1)].map((letter) => alphabet.indexOf(letter));
  if (values.length < 6 || values.includes(-1)) return undefined;
  if (polymod([...expand(prefix), ...values]) !== 1) return undefined;
  const bytes = regroup(values.slice(0, -6), 5, 8, false);
  return Buffer.from(bytes);
}

function expand(prefix: string): number[] {
  const codes = [...prefix].map((letter) => letter.charCodeAt(0));
  return [...codes.map((code) => code >> 5), 0, ...codes.map((code) => code & 31)];
}

function polymod(values: readonly number[]): number {
  const generator = [0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3];
  let checksum = 1;
  for (const value of values) {
    const top = checksum >>> 25;
    checksum = ((checksum & 0x1ffffff) << 5) ^ value;
    for (let bit = 0; bit < 5; bit += 1) {
      if (((top >>> bit) & 1) === 1) checksum ^= generator[bit] as number;
    }
  }
  return checksum >>> 0;
}

function regroup(values: Iterable<number>, from: number, to: number, pad: boolean): number[] {
  const groups: number[] = [];
  let gathered = 0;
  let bits = 0;
  for (const value of values) {
    gathered = (gathered << from) | value;
    bits += from;
    while (bits >= to) {
      bits -= to;
      groups.push((gathered >>> bits) & ((1 << to) - 1));
    }
    gathered &= (1 << bits) - 1;
  }
  if (pad && bits > 0) groups.push((gathered << (to - bits)) & ((1 << to) - 1));
  return groups;
}
