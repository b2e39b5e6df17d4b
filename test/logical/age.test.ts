import { execFileSync, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, renameSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
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

/** A key as age-keygen writes it. */
const kit = { identity: "AGE-SECRET-KEY-1XMWWC06LY3EE5RYTXM9MFLAZ2U56JJJ36S0MYPDRWSVLUL66MV4QX3S7F6" };
const noPython =
  spawnSync("python3", ["-c", "import venv, ensurepip"]).status === 0
    ? undefined
    : "(skipped: no python3 with venv)";

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

  it.skipIf(noPython !== undefined)(
    `is read by another implementation, and reads what that one wrote ${noPython ?? ""}`,
    { timeout: 300_000 },
    async () => {
      const python = await pyrage();
      const { text } = newIdentity();
      const identity = parseIdentity(text) as Identity;
      const plain = randomBytes(150_000);
      const script = `
import base64, json, pyrage, sys
given = json.load(sys.stdin)
identity = pyrage.x25519.Identity.from_str(given["identity"])
plain = pyrage.decrypt(base64.b64decode(given["sealed"]), [identity])
theirs = pyrage.encrypt(plain, [pyrage.x25519.Recipient.from_str(given["recipient"])])
print(json.dumps({"recipient": str(identity.to_public()), "plain": base64.b64encode(plain).decode(), "theirs": base64.b64encode(theirs).decode()}))
`;
      const input = {
        identity: text,
        recipient: identity.recipient.text,
        sealed: (await encrypted(plain, identity)).toString("base64"),
      };
      const output = JSON.parse(
        execFileSync(python, ["-c", script], { input: JSON.stringify(input), maxBuffer: 2 ** 26 }).toString(),
      );
      expect(output.recipient).toBe(identity.recipient.text);
      expect(Buffer.from(output.plain, "base64").equals(plain)).toBe(true);
      expect((await decrypted(Buffer.from(output.theirs, "base64"), identity)).equals(plain)).toBe(true);
    },
  );
});

function* cutInto(bytes: Buffer, size: number) {
  for (let start = 0; start < bytes.length; start += size) yield bytes.subarray(start, start + size);
}

/** The bindings of age's implementation in Rust, in an environment of their own, fetched once for all test runs. */
async function pyrage(): Promise<string> {
  const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "pgkeep-tests");
  const environment = join(cache, "pyrage-1.4.0");
  const python = join(environment, "bin", "python");
  if (existsSync(python)) return python;
  mkdirSync(cache, { recursive: true });
  const temporary = `${environment}.${process.pid}`;
  execFileSync("python3", ["-m", "venv", temporary]);
  execFileSync(join(temporary, "bin", "python"), [
    "-m",
    "pip",
    "install",
    "--quiet",
    "--disable-pip-version-check",
    "pyrage==1.4.0",
  ]);
  renameSync(temporary, environment);
  return python;
}
