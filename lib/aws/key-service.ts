import { DecryptCommand, GenerateDataKeyCommand, KMSClient } from "@aws-sdk/client-kms";
import { errorMessage, PgkeepError } from "../errors.ts";
import type { KeyService } from "../logical/envelope.ts";
import type { ClientOptions } from "./clients.ts";
import { calling, isNamed } from "./errors.ts";
import { regionOf } from "./region.ts";

/** What a wrapped key is bound to; KMS logs it with each use, and policies may ask for it. */
const contextOf = (id: string) => ({ "pgkeep:dump": id });

/**
 * Data keys of KMS (AWS KMS Developer Guide, envelope encryption).
 * @param key ARN, id or `alias/…` of the key that new data keys are encrypted with
 * @throws PgkeepError `configuration` when no region is set
 */
export async function openKeyService(
  key: string | undefined,
  options: Partial<ClientOptions> = {},
): Promise<KeyService> {
  // The ARN says where the key is.
  const region = (key === undefined ? undefined : regionOfArn(key)) ?? options.region;
  const clientFor = async (place: string | undefined) => {
    const client = new KMSClient({
      retryMode: "adaptive",
      maxAttempts: options.maxAttempts ?? 8,
      requestHandler: { connectionTimeout: 3_000, requestTimeout: 30_000 },
      ...(place === undefined ? {} : { region: place }),
      ...(options.endpoint === undefined ? {} : { endpoint: options.endpoint }),
      ...(options.credentials === undefined ? {} : { credentials: options.credentials }),
    });
    await regionOf(client, "the key");
    return client;
  };
  return {
    async newKey(id) {
      const client = await clientFor(region);
      return calling(`make a data key with ${key}`, async () => {
        const made = await client.send(
          new GenerateDataKeyCommand({
            KeyId: key as string,
            KeySpec: "AES_256",
            EncryptionContext: contextOf(id),
          }),
        );
        if (made.Plaintext === undefined || made.CiphertextBlob === undefined || made.KeyId === undefined) {
          throw new Error("KMS gave no key");
        }
        return {
          plain: Buffer.from(made.Plaintext),
          wrapped: Buffer.from(made.CiphertextBlob).toString("base64"),
          wrappedBy: made.KeyId,
        };
      }).finally(() => client.destroy());
    },
    async unwrap(id, wrapped, wrappedBy) {
      const client = await clientFor(regionOfArn(wrappedBy) ?? region);
      return calling(`decrypt the data key of ${id} with ${wrappedBy}`, async () => {
        try {
          const opened = await client.send(
            new DecryptCommand({
              CiphertextBlob: Buffer.from(wrapped, "base64"),
              KeyId: wrappedBy,
              EncryptionContext: contextOf(id),
            }),
          );
          return Buffer.from(opened.Plaintext ?? []);
        } catch (error) {
          throw changed(error, id) ?? unusable(error, wrappedBy) ?? error;
        }
      }).finally(() => client.destroy());
    },
  };
}

const regionOfArn = (key: string): string | undefined => /^arn:[^:]+:kms:([^:]+):/.exec(key)?.[1];

function changed(error: unknown, id: string): PgkeepError | undefined {
  if (!isNamed(error, "InvalidCiphertext", "IncorrectKey")) return undefined;
  return new PgkeepError("backup-invalid", `the data key of ${id} is of another dump, or was changed`, {
    remedy: "use another backup; this one cannot be trusted",
    cause: error,
  });
}

function unusable(error: unknown, key: string): PgkeepError | undefined {
  if (!isNamed(error, "Disabled", "KMSInvalidState", "KeyUnavailable")) return undefined;
  return new PgkeepError("refused", `the key ${key} cannot be used: ${errorMessage(error)}`, {
    remedy: "enable the key, or cancel its deletion, in KMS",
    cause: error,
  });
}
