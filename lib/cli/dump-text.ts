import type { ListedDump, PrunedDumps } from "../logical/catalogue.ts";
import type { DumpPlan } from "../logical/create.ts";
import type { Manifest } from "../logical/manifest.ts";
import type { RestoredTable } from "../logical/restore-table.ts";
import type { RestoredDump } from "../logical/run-restore.ts";
import { selectionText } from "../logical/selection.ts";
import type { DumpStore } from "../logical/store.ts";
import type { Swapped } from "../logical/swap.ts";
import type { DumpVerification } from "../logical/verify.ts";
import { qualified } from "../postgres/identifiers.ts";
import { versionText } from "../postgres/versions.ts";
import { bytesText, countText, durationText } from "../words.ts";
import type { Cli } from "./cli.ts";

const momentText = (time: Date | string) => new Date(time).toISOString().replace(/\.\d+Z$/, "Z");

export function createText(plan: DumpPlan, manifest: Manifest | null): string {
  const { id, format, compression, jobs, tool, tables } = plan;
  const how = `${format}, ${compression.algorithm}${compression.level === null ? "" : `:${compression.level}`}${
    jobs > 1 ? `, ${jobs} at a time` : ""
  }, pg_dump ${versionText(tool.versionNumber)}`;
  if (manifest === null) {
    return `Would take ${id} (${how}): ${countText(tables.length, "relation")}, about ${bytesText(
      tables.reduce((sum, { estimatedBytes }) => sum + estimatedBytes, 0),
    )} before compression`;
  }
  return `${id}: ${bytesText(manifest.sizeBytes)} in ${durationText(manifest.seconds)} (${how}${
    manifest.encryption === null ? "" : ", encrypted"
  }), ${countText(tables.length, "relation")}`;
}

export function listText(dumps: readonly ListedDump[], store: DumpStore, cli: Pick<Cli, "table">): string {
  if (dumps.length === 0)
    return `No logical backups in ${store.location}. Take one with \`pgkeep dump create\`.`;
  return cli.table(
    ["backup", "state", "started", "database", "what", "size", "verified", "kept for"],
    dumps.map(({ id, state, startedAt, manifest, verifiedAt, keptFor, problem }) => [
      id,
      state,
      momentText(startedAt),
      manifest?.database ?? "",
      manifest === null ? (problem ?? "") : selectionText(manifest.selection),
      manifest === null ? "" : bytesText(manifest.sizeBytes),
      verifiedAt === null ? "" : momentText(verifiedAt),
      manifest === null ? "" : keptFor.length === 0 ? "(would be pruned)" : keptFor.join(", "),
    ]),
  );
}

export function showText(manifest: Manifest, cli: Pick<Cli, "table">): string {
  const { encryption, tables, files } = manifest;
  return [
    `${manifest.id}: ${selectionText(manifest.selection)} of ${manifest.database}`,
    `  taken ${momentText(manifest.startedAt)} in ${durationText(manifest.seconds)} from PostgreSQL ${versionText(
      manifest.serverVersionNumber,
    )} with pg_dump ${versionText(manifest.tool.versionNumber)}`,
    `  ${manifest.format}, ${manifest.compression.algorithm}, ${bytesText(manifest.sizeBytes)} in ${countText(files.length, "file")}`,
    `  ${encryption === null ? "not encrypted" : `encrypted for ${encryption.recipients.join(", ")}`}`,
    `  roles: ${manifest.roles.length === 0 ? "none" : manifest.roles.join(", ")}`,
    "",
    cli.table(
      ["relation", "kind", "rows (estimate)", "size (estimate)"],
      tables.map(({ schema, name, kind, estimatedRows, estimatedBytes }) => [
        `${schema}.${name}`,
        kind,
        estimatedRows < 0 ? "unknown" : Math.round(estimatedRows),
        bytesText(estimatedBytes),
      ]),
    ),
  ].join("\n");
}

export function verificationText(result: DumpVerification): string {
  const { id, ok, filesChecked, bytesChecked, entries, decrypted, problems, notAssessable } = result;
  const lines = ok
    ? [
        `${id}: fine (${countText(filesChecked, "file")}, ${bytesText(bytesChecked)}${decrypted ? ", decrypted" : ""}${
          entries === null ? "" : `, ${countText(entries, "entry", "entries")}`
        })`,
      ]
    : [`${id}: DAMAGED`];
  for (const { subject, relation, problem } of problems) {
    lines.push(`  ${subject}${relation === undefined ? "" : ` (${relation})`}: ${problem}`);
  }
  for (const gap of notAssessable) lines.push(`  not looked at: ${gap}`);
  return lines.join("\n");
}

export function restoredText({
  id,
  database,
  relations,
  seconds,
  dryRun,
  created,
  atomic,
  jobs,
}: RestoredDump): string {
  const where = `${created ? "the new database " : ""}${database}`;
  if (!dryRun)
    return `${id}: ${countText(relations, "relation")} restored into ${where} in ${durationText(seconds)}`;
  return `Would restore ${countText(relations, "relation")} of ${id} into ${where}${
    jobs > 1 ? `, ${jobs} at a time` : ""
  }${atomic ? ", all or nothing" : "; a failure would leave a part of it"}`;
}

export function restoredTableText({ id, database, schema, name, how, rows, dryRun }: RestoredTable): string {
  const table = `${schema}.${name} in ${database}`;
  if (dryRun)
    return `Would restore ${table} from ${id}, ${how === "beside" ? "beside the original" : "in its place"}`;
  return `${table}: ${countText(rows ?? 0, "row")} from ${id}${how === "beside" ? ", beside the original, which is as it was" : ""}`;
}

export function swappedText({ schema, name, keptAs, statements, dryRun }: Swapped): string {
  if (dryRun)
    return ["Would run in one transaction:", ...statements.map((statement) => `  ${statement};`)].join("\n");
  return `${qualified(schema, name)} is the restored table now; the one before is ${qualified(schema, keptAs)}`;
}

export function prunedText(
  { kept, deleted, locked, notDeleted, refused }: PrunedDumps,
  dryRun: boolean,
): string {
  return [
    ...deleted.map(({ id, reason }) => `${dryRun ? "would delete" : "deleted"} ${id}: ${reason}`),
    ...locked.map(({ id, by, until }) => `kept ${id}: ${by} until ${until ?? "it is lifted"}`),
    ...notDeleted.map(({ id, reason }) => `not deleted ${id}: ${reason}`),
    ...refused.map((reason) => `Nothing deleted of one kind: ${reason}`),
    `${kept} kept, ${deleted.length} ${dryRun ? "to delete" : "deleted"}`,
  ].join("\n");
}
