import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject,
  randomBytes,
  timingSafeEqual,
} from "node:crypto";
import { Transform, type TransformCallback } from "node:stream";
import { PgkeepError } from "../errors.ts";
import { bech32Decode, bech32Encode } from "./bech32.ts";

/**
 * Files in the format of age (age-encryption.org/v1, https://c2sp.org/age) with X25519 recipients, so that a
 * backup can be read without pgkeep: `age --decrypt -i key.txt`. The payload is ChaCha20-Poly1305 in chunks of
 * 64 KiB, each authenticated, the last one marked: neither a changed byte nor a missing end goes unnoticed.
 */
const version = "age-encryption.org/v1";
const chunkBytes = 64 * 1024;
const tagBytes = 16;
/** Longer headers than this are not ours. */
const maxHeaderBytes = 64 * 1024;

/** The public half: can encrypt. */
export interface Recipient {
  /** `age1…` */
  text: string;
  publicKey: Buffer;
}

/** The secret half: can decrypt. */
export interface Identity {
  recipient: Recipient;
  privateKey: KeyObject;
}

const pkcs8 = Buffer.from("302e020100300506032b656e04220420", "hex");
const spki = Buffer.from("302a300506032b656e032100", "hex");

const publicKeyObject = (raw: Buffer) =>
  createPublicKey({ key: Buffer.concat([spki, raw]), format: "der", type: "spki" });
const rawPublicKey = (key: KeyObject) => key.export({ format: "der", type: "spki" }).subarray(spki.length);

/** A new key pair; `text` is the line `AGE-SECRET-KEY-1…`. */
export function newIdentity(): { text: string; recipient: string } {
  const { privateKey, publicKey } = generateKeyPairSync("x25519");
  const secret = privateKey.export({ format: "der", type: "pkcs8" }).subarray(pkcs8.length);
  return {
    text: bech32Encode("age-secret-key-", secret).toUpperCase(),
    recipient: bech32Encode("age", rawPublicKey(publicKey)),
  };
}

export function parseIdentity(text: string): Identity | undefined {
  const secret = bech32Decode("age-secret-key-", text);
  return secret?.length === 32 ? identityOf(secret) : undefined;
}

/** The identity whose secret key is these 32 bytes. */
export function identityOf(secret: Buffer): Identity {
  const privateKey = createPrivateKey({ key: Buffer.concat([pkcs8, secret]), format: "der", type: "pkcs8" });
  const publicKey = Buffer.from(rawPublicKey(createPublicKey(privateKey)));
  return { privateKey, recipient: { text: bech32Encode("age", publicKey), publicKey } };
}

export function parseRecipient(text: string): Recipient | undefined {
  const publicKey = bech32Decode("age", text);
  return publicKey?.length === 32 ? { text: text.toLowerCase(), publicKey } : undefined;
}

const derive = (key: Buffer, salt: Buffer, info: string) =>
  Buffer.from(hkdfSync("sha256", key, salt, info, 32));
const base64 = (bytes: Buffer) => bytes.toString("base64").replace(/=+$/, "");

function header(fileKey: Buffer, recipients: readonly Recipient[]): Buffer {
  const lines = [version];
  for (const { publicKey } of recipients) {
    const ephemeral = generateKeyPairSync("x25519");
    const share = Buffer.from(rawPublicKey(ephemeral.publicKey));
    const shared = diffieHellman({
      privateKey: ephemeral.privateKey,
      publicKey: publicKeyObject(publicKey),
    });
    const wrapKey = derive(shared, Buffer.concat([share, publicKey]), `${version}/X25519`);
    lines.push(`-> X25519 ${base64(share)}`, base64(seal(wrapKey, Buffer.alloc(12), fileKey)));
  }
  const signed = `${lines.join("\n")}\n---`;
  return Buffer.from(`${signed} ${base64(headerMac(fileKey, signed))}\n`);
}

function headerMac(fileKey: Buffer, signed: string): Buffer {
  return createHmac("sha256", derive(fileKey, Buffer.alloc(0), "header"))
    .update(signed)
    .digest();
}

function seal(key: Buffer, nonce: Buffer, plain: Buffer): Buffer {
  const cipher = createCipheriv("chacha20-poly1305", key, nonce, { authTagLength: tagBytes });
  return Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
}

/** @returns undefined when the bytes are not what was sealed with this key */
function unseal(key: Buffer, nonce: Buffer, sealed: Buffer): Buffer | undefined {
  const decipher = createDecipheriv("chacha20-poly1305", key, nonce, { authTagLength: tagBytes });
  decipher.setAuthTag(sealed.subarray(-tagBytes));
  try {
    return Buffer.concat([decipher.update(sealed.subarray(0, -tagBytes)), decipher.final()]);
  } catch {
    return undefined;
  }
}

function chunkNonce(counter: number, last: boolean): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.writeUInt32BE(Math.floor(counter / 2 ** 32), 3);
  nonce.writeUInt32BE(counter % 2 ** 32, 7);
  nonce[11] = last ? 1 : 0;
  return nonce;
}

/** Cuts a stream into pieces of `size`, and tells which is the last: it may be empty only when it is the first. */
abstract class Chunked extends Transform {
  private readonly size: number;
  private held: Buffer[] = [];
  private heldBytes = 0;
  private counter = 0;

  constructor(size: number) {
    super();
    this.size = size;
  }

  protected abstract piece(bytes: Buffer, counter: number, last: boolean): void;

  protected accept(bytes: Buffer): void {
    this.held.push(bytes);
    this.heldBytes += bytes.length;
    if (this.heldBytes <= this.size) return;
    let rest = Buffer.concat(this.held);
    // One piece is always kept back: only the end shows which is the last.
    while (rest.length > this.size) {
      this.piece(rest.subarray(0, this.size), this.counter, false);
      this.counter += 1;
      rest = rest.subarray(this.size);
    }
    this.held = [rest];
    this.heldBytes = rest.length;
  }

  protected end_(): void {
    this.piece(Buffer.concat(this.held), this.counter, true);
  }
}

class Encryption extends Chunked {
  private readonly key: Buffer;

  constructor(recipients: readonly Recipient[]) {
    super(chunkBytes);
    const fileKey = randomBytes(16);
    const nonce = randomBytes(16);
    this.key = derive(fileKey, nonce, "payload");
    this.push(Buffer.concat([header(fileKey, recipients), nonce]));
  }

  protected piece(bytes: Buffer, counter: number, last: boolean): void {
    this.push(seal(this.key, chunkNonce(counter, last), bytes));
  }

  override _transform(chunk: Buffer, _: BufferEncoding, done: TransformCallback): void {
    this.accept(chunk);
    done();
  }

  override _flush(done: TransformCallback): void {
    this.end_();
    done();
  }
}

class Decryption extends Chunked {
  private readonly identities: readonly Identity[];
  private readonly subject: string;
  private beginning: Buffer | undefined = Buffer.alloc(0);
  private key: Buffer | undefined;

  constructor(identities: readonly Identity[], subject: string) {
    super(chunkBytes + tagBytes);
    this.identities = identities;
    this.subject = subject;
  }

  protected piece(bytes: Buffer, counter: number, last: boolean): void {
    const plain =
      this.key === undefined || bytes.length < tagBytes
        ? undefined
        : unseal(this.key, chunkNonce(counter, last), bytes);
    if (plain === undefined || (plain.length === 0 && counter > 0)) {
      throw invalid(`${this.subject} was changed or is cut off: chunk ${counter} cannot be decrypted`);
    }
    this.push(plain);
  }

  override _transform(chunk: Buffer, _: BufferEncoding, done: TransformCallback): void {
    this.attempt(done, () => {
      if (this.beginning === undefined) return this.accept(chunk);
      this.beginning = Buffer.concat([this.beginning, chunk]);
      const rest = this.readHeader(this.beginning);
      if (rest === undefined) return;
      this.beginning = undefined;
      if (rest.length > 0) this.accept(rest);
    });
  }

  override _flush(done: TransformCallback): void {
    this.attempt(done, () => {
      if (this.beginning !== undefined) throw invalid(`${this.subject} is cut off within its header`);
      this.end_();
    });
  }

  private attempt(done: TransformCallback, work: () => void): void {
    try {
      work();
    } catch (error) {
      done(error as Error);
      return;
    }
    done();
  }

  /** What follows the header, once it is there as a whole. */
  private readHeader(bytes: Buffer): Buffer | undefined {
    const intro = Buffer.from(`${version}\n`);
    const known = Math.min(bytes.length, intro.length);
    if (!bytes.subarray(0, known).equals(intro.subarray(0, known))) {
      throw invalid(`${this.subject} is not a file that age or pgkeep encrypted`);
    }
    const dashes = bytes.indexOf("\n---");
    const end = dashes === -1 ? -1 : bytes.indexOf("\n", dashes + 1);
    if (end === -1 ? bytes.length > maxHeaderBytes : end > maxHeaderBytes) {
      throw invalid(`${this.subject} has no end of its header`);
    }
    if (end === -1 || bytes.length < end + 1 + 16) return undefined;
    const signed = bytes.subarray(0, dashes + 4).toString("latin1");
    const mac = bytes.subarray(dashes + 4, end);
    const fileKey = unwrap(signed, this.identities);
    if (fileKey === undefined) {
      throw new PgkeepError("backup-invalid", `${this.subject} is encrypted for another key`, {
        remedy: "give the key file it was encrypted for with --key-file",
      });
    }
    // As text: base64 has several ways to write the same bytes, of which only one is right.
    const expected = Buffer.from(` ${base64(headerMac(fileKey, signed))}`);
    if (mac.length !== expected.length || !timingSafeEqual(mac, expected)) {
      throw invalid(`the header of ${this.subject} was changed`);
    }
    this.key = derive(fileKey, bytes.subarray(end + 1, end + 17), "payload");
    return bytes.subarray(end + 17);
  }
}

function unwrap(signed: string, identities: readonly Identity[]): Buffer | undefined {
  for (const match of signed.matchAll(/\n-> X25519 ([A-Za-z0-9+/]{43})\n([A-Za-z0-9+/]{43})(?=\n)/g)) {
    const share = Buffer.from(match[1] as string, "base64");
    const body = Buffer.from(match[2] as string, "base64");
    for (const { privateKey, recipient } of identities) {
      let shared: Buffer;
      try {
        shared = diffieHellman({ privateKey, publicKey: publicKeyObject(share) });
      } catch {
        continue; // a share of low order
      }
      const wrapKey = derive(shared, Buffer.concat([share, recipient.publicKey]), `${version}/X25519`);
      const fileKey = unseal(wrapKey, Buffer.alloc(12), body);
      if (fileKey?.length === 16) return fileKey;
    }
  }
  return undefined;
}

function invalid(message: string): PgkeepError {
  return new PgkeepError("backup-invalid", message, {
    remedy: "use another backup; this one cannot be trusted",
  });
}

/** A stream that encrypts for every recipient. */
export function encryptFor(recipients: readonly Recipient[]): Transform {
  return new Encryption(recipients);
}

/**
 * A stream that decrypts with whichever identity fits, and fails with PgkeepError `backup-invalid` naming
 * `subject`: nothing that was not authenticated leaves it.
 */
export function decryptWith(identities: readonly Identity[], subject: string): Transform {
  return new Decryption(identities, subject);
}
