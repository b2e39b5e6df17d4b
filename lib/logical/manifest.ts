import { createHash } from "node:crypto";
import * as z from "zod";
import { PgkeepError } from "../errors.ts";

export const formats = ["directory", "custom", "plain", "tar"] as const;
export type DumpFormat = (typeof formats)[number];
export const contents = ["all", "schema", "data"] as const;
export type DumpContent = (typeof contents)[number];

const name = z.string().min(1);
const relation = z.strictObject({ schema: name, name });
const oids = z.array(z.number().int());

/** What was asked for; empty lists mean everything. */
const selection = z.strictObject({
  content: z.enum(contents),
  schemas: z.array(name),
  tables: z.array(relation),
  excludedSchemas: z.array(name),
  excludedTables: z.array(relation),
});
export type Selection = z.output<typeof selection>;

const table = relation.extend({
  oid: z.number().int(),
  /** table, partitioned, view, matview, sequence or foreign. */
  kind: z.enum(["table", "partitioned", "view", "matview", "sequence", "foreign"]),
  /** pg_class.reltuples; -1 when the table was never analysed. */
  estimatedRows: z.number(),
  /** relpages × block size: what the table itself held, without indexes and TOAST. */
  estimatedBytes: z.number(),
  /** Everything that belongs to it and is in the dump under an oid of its own: indexes, constraints, defaults … */
  parts: oids,
  /** Sequences that its columns own. */
  sequences: z.array(relation),
});
export type DumpedTable = z.output<typeof table>;

const file = z.strictObject({
  /** Below the backup's directory or prefix. */
  path: name,
  bytes: z.number().int(),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  /** Before encryption. */
  plainBytes: z.number().int().optional(),
  plainSha256: z.string().optional(),
});
export type DumpedFile = z.output<typeof file>;

const manifest = z.strictObject({
  formatVersion: z.literal(1),
  id: name,
  database: name,
  /** From pg_control: two servers never share it. Absent when the role may not ask. */
  systemIdentifier: z.string().optional(),
  serverVersionNumber: z.number().int(),
  tool: z.strictObject({ name: z.literal("pg_dump"), versionNumber: z.number().int() }),
  startedAt: z.iso.datetime(),
  finishedAt: z.iso.datetime(),
  seconds: z.number(),
  format: z.enum(formats),
  compression: z.strictObject({
    algorithm: z.enum(["none", "gzip", "zstd"]),
    level: z.number().int().nullable(),
  }),
  jobs: z.number().int(),
  selection,
  /** The tables below and the dump are of one snapshot. */
  snapshot: z.string(),
  encoding: z.string(),
  collation: z.string(),
  characterType: z.string(),
  /** libc, icu or builtin, with the locale of the last two. */
  localeProvider: z.enum(["libc", "icu", "builtin"]),
  locale: z.string().nullable(),
  /** Roles that own something in the database or were granted something. */
  roles: z.array(name),
  tables: z.array(table),
  /**
   * null: not encrypted. `wrapped`: the secret key of the first recipient, encrypted by a key service with the key
   * `wrappedBy`, in base64.
   */
  encryption: z
    .strictObject({
      format: z.literal("age-v1"),
      recipients: z.array(name),
      wrapped: z.string().optional(),
      wrappedBy: z.string().optional(),
    })
    .nullable(),
  sizeBytes: z.number().int(),
  files: z.array(file).min(1),
});
/** `manifest.json`, written last: without it there is no backup. */
export type Manifest = z.output<typeof manifest>;

export const manifestName = "manifest.json";

const checksumOf = (body: string) => createHash("sha256").update(body).digest("hex");

/** The checksum of the body stands before it, so that the file vouches for itself. */
export function serializeManifest(value: Manifest): string {
  const body = JSON.stringify(value);
  return `{"checksum":"${checksumOf(body)}","backup":${body}}\n`;
}

/** @throws PgkeepError `backup-invalid` when it is cut off, changed, of another backup or of an unknown format */
export function parseManifest(id: string, text: string): Manifest {
  const invalid = (problem: string) =>
    new PgkeepError("backup-invalid", `${manifestName} of ${id} ${problem}`, {
      remedy: "use another backup; this one cannot be trusted",
    });
  const match = /^\{"checksum":"([0-9a-f]{64})","backup":(.*)\}\n$/s.exec(text);
  if (match === null) throw invalid("is not what pgkeep writes, or is cut off");
  const body = match[2] as string;
  if (checksumOf(body) !== match[1]) throw invalid("was changed: its checksum differs");
  let document: unknown;
  try {
    document = JSON.parse(body);
  } catch {
    throw invalid("is not JSON");
  }
  const parsed = manifest.safeParse(document);
  if (!parsed.success) throw invalid("has an unknown format: it may be of a newer pgkeep");
  if (parsed.data.id !== id) throw invalid(`belongs to another backup, ${parsed.data.id}`);
  for (const { path } of parsed.data.files) {
    if (!isSafePath(path)) throw invalid("names a file outside of the backup");
  }
  return parsed.data;
}

/** One or two plain names: never absolute, never upwards. */
function isSafePath(path: string): boolean {
  return path.split("/").length <= 2 && path.split("/").every((part) => /^[\w][\w.-]*$/.test(part));
}
