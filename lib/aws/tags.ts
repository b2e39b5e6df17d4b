import { PgkeepError } from "../errors.ts";

/** Tag on a backup that a drill has restored and proved: when, in ISO 8601. */
export const verifiedTag = "pgkeep:verified-at";
/** Tags on what a restore makes: its name and its target, so that the same name never means two things. */
export const restoreNameTag = "pgkeep:restore-name";
export const restoreTargetTag = "pgkeep:restore-target";
export const restoreBackupTag = "pgkeep:restore-backup";

/** As the SDK has it. */
interface Tag {
  Key?: string | undefined;
  Value?: string | undefined;
}

export type Tags = ReadonlyMap<string, string>;

export function tagsOf(list: readonly Tag[] | undefined): Tags {
  return new Map((list ?? []).map(({ Key = "", Value = "" }) => [Key, Value]));
}

export function tagList(tags: Record<string, string>): Tag[] {
  return Object.entries(tags).map(([Key, Value]) => ({ Key, Value }));
}

/** What RDS takes in a tag's value beside `=`, which begins an escape here (API reference of RDS, `Tag`). */
const plain = /[\p{L}\p{Zs}\p{N}_.:/+\-@]/u;
const maxCharacters = 256;

/**
 * Any text as the value of a tag: characters that RDS refuses become `=XX` for each byte, as in quoted-printable.
 * @throws PgkeepError `usage` when it does not fit
 */
export function encodeTagValue(text: string): string {
  const encoded = [...text]
    .map((character) =>
      plain.test(character)
        ? character
        : [...Buffer.from(character)]
            .map((byte) => `=${byte.toString(16).toUpperCase().padStart(2, "0")}`)
            .join(""),
    )
    .join("");
  if (encoded.length > maxCharacters) {
    throw new PgkeepError(
      "usage",
      `a tag holds ${maxCharacters} characters, and this text needs ${encoded.length}`,
      {
        remedy: "say it shorter",
      },
    );
  }
  return encoded;
}

/** The text that `encodeTagValue` was given; a value that somebody else wrote stays as it is. */
export function decodeTagValue(value: string): string {
  return value.replace(/(?:=[0-9A-F]{2})+/g, (escaped) => {
    const bytes = Buffer.from(escaped.replaceAll("=", ""), "hex");
    const text = bytes.toString("utf8");
    return Buffer.from(text).equals(bytes) ? text : escaped;
  });
}
