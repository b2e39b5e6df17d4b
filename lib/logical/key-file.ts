import { open, readFile } from "node:fs/promises";
import { PgkeepError, UsageError } from "../errors.ts";
import { type Identity, newIdentity, parseIdentity, parseRecipient, type Recipient } from "./age.ts";

/** What a key file allows: everybody in it can be encrypted for; only with a secret key can be decrypted. */
export interface Keys {
  recipients: Recipient[];
  identities: Identity[];
}

/**
 * Reads a key file as `age-keygen` writes it: a line `AGE-SECRET-KEY-1…`, or only `age1…` for a machine that
 * takes backups and must not be able to read them. Lines with # are comments.
 * @throws PgkeepError `not-found`; UsageError for a file that holds something else, of which nothing is repeated
 */
export async function readKeyFile(file: string): Promise<Keys> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    throw new PgkeepError("not-found", `the key file ${file} cannot be read`, {
      remedy: `make one with \`pgkeep dump new-key ${file}\`, or give the right name with --key-file`,
      cause: error,
    });
  }
  const keys: Keys = { recipients: [], identities: [] };
  for (const [index, line] of text.split("\n").entries()) {
    const word = line.trim();
    if (word === "" || word.startsWith("#")) continue;
    const identity = parseIdentity(word);
    const recipient = identity?.recipient ?? parseRecipient(word);
    if (recipient === undefined) {
      throw new UsageError(
        `line ${index + 1} of the key file ${file} is neither AGE-SECRET-KEY-1… nor age1…`,
        {
          remedy: `make a key file with \`pgkeep dump new-key FILE\` or \`age-keygen -o FILE\``,
        },
      );
    }
    if (identity !== undefined) keys.identities.push(identity);
    keys.recipients.push(recipient);
  }
  if (keys.recipients.length === 0) {
    throw new UsageError(`the key file ${file} holds no key`, {
      remedy: `make a key file with \`pgkeep dump new-key FILE\``,
    });
  }
  return keys;
}

/** Makes a key file that only its owner can read. @returns the public key @throws PgkeepError `refused` when it exists */
export async function writeNewKeyFile(file: string, now: Date): Promise<string> {
  const { text, recipient } = newIdentity();
  try {
    const handle = await open(file, "wx", 0o600);
    try {
      await handle.writeFile(`# created: ${now.toISOString()}\n# public key: ${recipient}\n${text}\n`);
      await handle.sync();
    } finally {
      await handle.close();
    }
  } catch (error) {
    const exists = (error as NodeJS.ErrnoException).code === "EEXIST";
    throw new PgkeepError(
      exists ? "refused" : "not-found",
      exists ? `${file} exists already: a key file is never overwritten` : `${file} cannot be written`,
      { remedy: "give another file name", cause: error },
    );
  }
  return recipient;
}
