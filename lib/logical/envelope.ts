import { PgkeepError } from "../errors.ts";
import { identityOf } from "./age.ts";
import type { Keys } from "./key-file.ts";
import type { Manifest } from "./manifest.ts";

/** Makes keys and encrypts them with one that never leaves it. */
export interface KeyService {
  /** A new key of 32 bytes, and the same encrypted: only for what has this id can it be decrypted again. */
  newKey(id: string): Promise<{ plain: Buffer; wrapped: string; wrappedBy: string }>;
  /** @param wrappedBy the key that it was encrypted with */
  unwrap(id: string, wrapped: string, wrappedBy: string): Promise<Buffer>;
}

/**
 * What a new dump is encrypted with. A key service gives every dump a key of its own: an identity of age, so that
 * with the decrypted key the dump can be read without pgkeep too.
 */
export async function sealFor(
  id: string,
  keys: Keys | undefined,
  service: KeyService | undefined,
): Promise<{ keys: Keys | undefined; encryption: Manifest["encryption"] }> {
  const recipientsOf = ({ recipients }: Keys) => recipients.map(({ text }) => text);
  if (service === undefined) {
    return {
      keys,
      encryption: keys === undefined ? null : { format: "age-v1", recipients: recipientsOf(keys) },
    };
  }
  const { plain, wrapped, wrappedBy } = await service.newKey(id);
  const own = identityOf(plain);
  const all: Keys = {
    recipients: [own.recipient, ...(keys?.recipients ?? [])],
    identities: [own, ...(keys?.identities ?? [])],
  };
  return { keys: all, encryption: { format: "age-v1", recipients: recipientsOf(all), wrapped, wrappedBy } };
}

/**
 * The keys that open a dump: the given ones when they do, else with the one that its key service decrypts.
 * @throws PgkeepError `backup-invalid` when what was decrypted is not the dump's key; the service's errors
 */
export async function unsealFor(
  { id, encryption }: Pick<Manifest, "id" | "encryption">,
  keys: Keys | undefined,
  service: () => Promise<KeyService>,
): Promise<Keys | undefined> {
  if (encryption?.wrapped === undefined || encryption.wrappedBy === undefined) return keys;
  const opens = ({ recipient }: { recipient: { text: string } }) =>
    encryption.recipients.includes(recipient.text);
  if (keys?.identities.some(opens) === true) return keys;
  const secret = await (await service()).unwrap(id, encryption.wrapped, encryption.wrappedBy);
  const own = secret.length === 32 ? identityOf(secret) : undefined;
  if (own === undefined || !opens(own)) {
    throw new PgkeepError("backup-invalid", `the key that the manifest of ${id} holds is not the dump's`, {
      remedy: "use another backup; this one cannot be trusted",
    });
  }
  return {
    recipients: [own.recipient, ...(keys?.recipients ?? [])],
    identities: [own, ...(keys?.identities ?? [])],
  };
}
