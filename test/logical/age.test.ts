import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { Readable } from "node:stream";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  decryptWith,
  encryptFor,
  type Identity,
  newIdentity,
  parseIdentity,
  parseRecipient,
} from "../../lib/logical/age.ts";

const encrypted = async (plain: Buffer, ...identities: Identity[]) =>
  Buffer.concat(
    await Readable.from([plain])
      .pipe(encryptFor(identities.map(({ recipient }) => recipient)))
      .toArray(),
  );
const decrypted = async (sealed: Buffer, identity: Identity) =>
  Buffer.concat(
    await Readable.from([sealed])
      .pipe(decryptWith([identity], "the file"))
      .toArray(),
  );
const newKey = () => parseIdentity(newIdentity().text) as Identity;

/** `age-keygen`'s example of the specification's test kit (c2sp.org/CCTV/age): key, passphrase-less X25519 file. */
const kit = {
  identity: "AGE-SECRET-KEY-1XMWWC06LY3EE5RYTXM9MFLAZ2U56JJJ36S0MYPDRWSVLUL66MV4QX3S7F6",
};

describe("encryption in the format of age", () => {
  const key = newKey();

  it.each([0, 1, 65_535, 65_536, 65_537, 131_072, 200_000])("gives back %i bytes", async (size) => {
    const plain = randomBytes(size);
    expect((await decrypted(await encrypted(plain, key), key)).equals(plain)).toBe(true);
  });

  it("does not depend on how the bytes arrive", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 70_000 }), { maxLength: 6 }), async (sizes) => {
        const parts = sizes.map((size) => randomBytes(size));
        const sealed = Buffer.concat(
          await Readable.from(parts)
            .pipe(encryptFor([key.recipient]))
            .toArray(),
        );
        const pieces = sizes.map((size, index) => sealed.subarray(index * 7, index * 7 + size)).length;
        expect(pieces).toBe(sizes.length);
        const bytewise = Readable.from(cutInto(sealed, 1 + (sizes[0] ?? 0)));
        const back = Buffer.concat(await bytewise.pipe(decryptWith([key], "f")).toArray());
        expect(back.equals(Buffer.concat(parts))).toBe(true);
      }),
      { numRuns: 20 },
    );
  });

  it("can be read with each of several keys, and with no other", async () => {
    const other = newKey();
    const sealed = await encrypted(Buffer.from("secret"), key, other);
    expect(String(await decrypted(sealed, key))).toBe("secret");
    expect(String(await decrypted(sealed, other))).toBe("secret");
    await expect(decrypted(sealed, newKey())).rejects.toThrow("the file is encrypted for another key");
  });

  it("shows every changed bit and every missing byte", async () => {
    const sealed = await encrypted(randomBytes(70_000), key);
    for (let position = 0; position < sealed.length; position += position < 300 ? 1 : 997) {
      const changed = Buffer.from(sealed);
      changed[position] = (changed[position] as number) ^ 4;
      await expect(decrypted(changed, key), `bit at ${position}`).rejects.toThrow();
    }
    for (const length of [0, 10, 100, 183, 184, 200, 60_000, 65_752, sealed.length - 1]) {
      await expect(decrypted(sealed.subarray(0, length), key), `first ${length}`).rejects.toThrow();
    }
    await expect(decrypted(Buffer.concat([sealed, Buffer.from("x")]), key)).rejects.toThrow();
  });

  it("reads keys as age-keygen writes them, and shows a typing error", () => {
    const identity = parseIdentity(kit.identity);
    expect(identity?.recipient.text).toMatch(/^age1[02-9ac-hj-np-z]{58}$/);
    expect(
      parseRecipient(identity?.recipient.text ?? "")?.publicKey.equals(
        identity?.recipient.publicKey as Buffer,
      ),
    ).toBe(true);
    expect(parseIdentity(kit.identity.replace("XMWWC", "XMWWD"))).toBe(undefined);
    expect(parseRecipient("age1qqqq")).toBe(undefined);
  });

  const age = ageProgram();
  it.skipIf(age === undefined)(
    `is read by the program age ${age === undefined ? "(skipped: not on this machine)" : ""}`,
    async () => {
      const { mkdtempSync, writeFileSync } = await import("node:fs");
      const { tmpdir } = await import("node:os");
      const { join } = await import("node:path");
      const directory = mkdtempSync(join(tmpdir(), "age-"));
      const { text } = newIdentity();
      writeFileSync(join(directory, "key"), `${text}\n`);
      writeFileSync(
        join(directory, "sealed"),
        await encrypted(Buffer.from("hello"), parseIdentity(text) as Identity),
      );
      expect(
        String(execFileSync("age", ["-d", "-i", join(directory, "key"), join(directory, "sealed")])),
      ).toBe("hello");
    },
  );
});

function* cutInto(bytes: Buffer, size: number) {
  for (let start = 0; start < bytes.length; start += size) yield bytes.subarray(start, start + size);
}

function ageProgram(): string | undefined {
  try {
    return String(execFileSync("age", ["--version"], { stdio: ["ignore", "pipe", "ignore"] }));
  } catch {
    return undefined;
  }
}
