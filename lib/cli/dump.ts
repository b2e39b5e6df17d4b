import { resolve } from "node:path";
import type { Environment } from "../environment.ts";
import { PgkeepError, UsageError } from "../errors.ts";
import { listDumps, newestDump, type PrunedDumps, pruneDumps, readManifest } from "../logical/catalogue.ts";
import type { Compression } from "../logical/compression.ts";
import { createDump } from "../logical/create.ts";
import { DirectoryStore } from "../logical/directory-store.ts";
import { type KeyService, unsealFor } from "../logical/envelope.ts";
import { type Keys, readKeyFile, writeNewKeyFile } from "../logical/key-file.ts";
import { type DumpFormat, formats, type Manifest } from "../logical/manifest.ts";
import { restoreDump } from "../logical/restore.ts";
import { restoreTable } from "../logical/restore-table.ts";
import { parseSelection } from "../logical/selection.ts";
import type { Source } from "../logical/source.ts";
import type { DumpStore } from "../logical/store.ts";
import { swapTables } from "../logical/swap.ts";
import { verifyDump } from "../logical/verify.ts";
import { parseTableName } from "../maintenance/table-name.ts";
import type { RetentionPolicy } from "../retention/plan.ts";
import type { Cli, GlobalOptions, Register } from "./cli.ts";
import {
  createText,
  listText,
  prunedText,
  restoredTableText,
  restoredText,
  showText,
  swappedText,
  verificationText,
} from "./dump-text.ts";
import { several, wholeNumber } from "./options.ts";

interface DumpOptions extends GlobalOptions {
  to?: string;
  keyFile?: string;
  kmsKey?: string;
  binDir?: string;
  dryRun?: boolean;
  jobs?: number;
}

interface CreateOptions extends DumpOptions {
  schema?: string[];
  table?: string[];
  excludeSchema?: string[];
  excludeTable?: string[];
  schemaOnly?: boolean;
  dataOnly?: boolean;
  format?: DumpFormat;
  compress?: string;
  lockWait?: number;
  prune?: boolean;
}

interface RestoreOptions extends DumpOptions {
  into?: string;
  create?: boolean;
  clean?: boolean;
  table?: string;
  as?: string;
  owner: boolean;
  analyze: boolean;
}

/** What the settings and options of one command line come to. */
interface Setting {
  store: DumpStore;
  policy: RetentionPolicy;
  keys: Keys | undefined;
  /** Of KMS: what new dumps are encrypted for. */
  kmsKey: string | undefined;
  compression: string | undefined;
  jobs: number;
  lockWaitSeconds: number;
}

async function settingOf(cli: Cli, options: DumpOptions): Promise<Setting> {
  const { logicalBackups: section } = await cli.loadDatabaseConfig(options);
  const keyFile = options.keyFile ?? section.keyFile;
  const place = options.to ?? section.directory;
  return {
    store: await storeAt(cli, place, section.bucketKmsKey),
    policy: { daily: section.keepDaily, weekly: section.keepWeekly, monthly: section.keepMonthly },
    keys: keyFile === undefined ? undefined : await readKeyFile(resolve(cli.workingDirectory, keyFile)),
    kmsKey: options.kmsKey ?? section.kmsKey,
    compression: section.compression,
    jobs: options.jobs ?? section.jobs,
    lockWaitSeconds: section.lockWaitSeconds,
  };
}

/** A directory, or with `s3://` a prefix of a bucket; the SDK is loaded only then. @throws UsageError */
async function storeAt(cli: Cli, place: string, kmsKey: string | undefined): Promise<DumpStore> {
  if (/^s3:\/\//i.test(place)) {
    const { openBucketStore } = await import("../aws/dump-store.ts");
    return openBucketStore(place, { kmsKey });
  }
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(place)) {
    throw new UsageError(`logical backups cannot be kept in ${place}`, {
      remedy: "give a directory or s3://BUCKET/PREFIX with --to",
    });
  }
  return new DirectoryStore(resolve(cli.workingDirectory, place));
}

async function keyServiceOf(kmsKey: string | undefined): Promise<KeyService> {
  const { openKeyService } = await import("../aws/key-service.ts");
  return openKeyService(kmsKey);
}

/** The keys that open a backup; KMS is asked only when the key file does not. */
async function keysFor({ store, keys, kmsKey }: Setting, id: string): Promise<Keys | undefined> {
  let manifest: Manifest;
  try {
    manifest = await readManifest(store, id);
  } catch (error) {
    // Whoever uses the backup says what is wrong with it.
    if (error instanceof PgkeepError && error.code === "backup-invalid") return keys;
    throw error;
  }
  return unsealFor(manifest, keys, () => keyServiceOf(kmsKey));
}

const isIncomplete = ({ refused, notDeleted }: PrunedDumps) => refused.length > 0 || notDeleted.length > 0;

/** @throws UsageError */
export function parseCompression(text: string | undefined): Compression | undefined {
  if (text === undefined) return undefined;
  const match = /^(none|gzip|zstd)(?::(\d+))?$/.exec(text);
  const algorithm = match?.[1] as Compression["algorithm"] | undefined;
  const level = match?.[2] === undefined ? null : Number(match[2]);
  const highest = algorithm === "zstd" ? 22 : algorithm === "gzip" ? 9 : 0;
  if (algorithm === undefined || (level !== null && (level < 1 || level > highest))) {
    throw new UsageError(`${JSON.stringify(text)} is no compression`, {
      remedy: "write none, gzip, gzip:1 to gzip:9, zstd, or zstd:1 to zstd:22",
    });
  }
  return { algorithm, level };
}

/** @throws PgkeepError `refused` where PostgreSQL's programs cannot log in */
export async function sourceOf(
  environment: Environment,
  cli: Cli,
  binDir: string | undefined,
): Promise<Source> {
  if (environment.clientLogin === undefined) {
    throw new PgkeepError("refused", `${environment.description} gives no login to PostgreSQL's programs`, {
      remedy: "give --url postgres://…",
    });
  }
  return {
    description: environment.description,
    login: await environment.clientLogin(),
    connect: (options) => environment.connectAsMaster(options),
    environment: cli.clientEnvironment,
    tools: {
      path: cli.clientEnvironment.PATH,
      ...(binDir === undefined ? {} : { binDirectory: resolve(cli.workingDirectory, binDir) }),
    },
  };
}

export const registerDump: Register = (program, cli) => {
  const dump = program
    .command("dump")
    .description("Logical backups with PostgreSQL's own pg_dump: take, list, verify, prune, restore");
  const places = (name: string, text: string) =>
    dump
      .command(name)
      .description(text)
      .option(
        "--to <place>",
        "where the backups are: a directory or s3://BUCKET/PREFIX (default: logicalBackups.directory)",
      );
  const withKeys = (name: string, text: string) =>
    places(name, text)
      .option("--key-file <file>", "key file as `pgkeep dump new-key` or age-keygen makes it")
      .option(
        "--bin-dir <directory>",
        "where pg_dump and pg_restore are (default: PATH and the usual places)",
      );
  const withSource = async <T>(options: DumpOptions, work: (source: Source) => Promise<T>): Promise<T> => {
    const environment = await cli.open(options);
    try {
      return await work(await sourceOf(environment, cli, options.binDir));
    } finally {
      await environment.close();
    }
  };

  withKeys("create", "take a logical backup now, with a manifest of what is in it")
    .option("--schema <name>", "only this schema; may be repeated", several)
    .option("--table <name>", "only this table, as in SQL with its schema; may be repeated", several)
    .option("--exclude-schema <name>", "without this schema; may be repeated", several)
    .option("--exclude-table <name>", "without this table; may be repeated", several)
    .option("--schema-only", "definitions without rows")
    .option("--data-only", "rows without definitions")
    .option("--format <format>", `${formats.join(", ")} (default: directory; custom when encrypted)`)
    .option("--compress <method>", "none, gzip[:level] or zstd[:level] (default: the best that pg_dump has)")
    .option("--jobs <n>", "tables dumped at the same time, in the format directory", wholeNumber(1, 64))
    .option("--lock-wait <seconds>", "how long to wait for a table that is locked", wholeNumber(1, 86_400))
    .option("--kms-key <key>", "encrypt with a data key of this key of KMS: its ARN, id or alias/NAME")
    .option("--prune", "afterwards delete what the rules of retention no longer keep")
    .option("--dry-run", "say what would be dumped, and dump nothing")
    .action(async (_: unknown, command) => {
      const options = command.optsWithGlobals() as CreateOptions;
      if (options.format !== undefined && !formats.includes(options.format)) {
        throw new UsageError(`${JSON.stringify(options.format)} is no format`, {
          remedy: `choose one of ${formats.join(", ")}`,
        });
      }
      const selection = parseSelection({
        ...(options.schema === undefined ? {} : { schemas: options.schema }),
        ...(options.table === undefined ? {} : { tables: options.table }),
        ...(options.excludeSchema === undefined ? {} : { excludeSchemas: options.excludeSchema }),
        ...(options.excludeTable === undefined ? {} : { excludeTables: options.excludeTable }),
        schemaOnly: options.schemaOnly === true,
        dataOnly: options.dataOnly === true,
      });
      const setting = await settingOf(cli, options);
      const compression = parseCompression(options.compress ?? setting.compression);
      const keyService = setting.kmsKey === undefined ? undefined : await keyServiceOf(setting.kmsKey);
      const { plan, manifest } = await withSource(options, (source) =>
        createDump({
          source,
          store: setting.store,
          selection,
          format: options.format,
          compression,
          // A number from the settings does not contradict a format that is written by one process.
          jobs:
            options.jobs ??
            (options.format === undefined || options.format === "directory" ? setting.jobs : 1),
          keys: setting.keys,
          keyService,
          lockWaitSeconds: options.lockWait ?? setting.lockWaitSeconds,
          dryRun: options.dryRun === true,
          now: new Date(),
          signal: cli.signal,
          progress: (message) => cli.note(message),
        }),
      );
      if (options.json !== true) cli.out(createText(plan, manifest));
      const pruned =
        options.prune === true
          ? await pruneDumps(setting.store, setting.policy, new Date(), {
              dryRun: manifest === null,
              signal: cli.signal,
            })
          : undefined;
      if (options.json === true) {
        cli.json({
          dryRun: manifest === null,
          ...plan,
          manifest,
          ...(pruned === undefined ? {} : { pruned }),
        });
      } else if (pruned !== undefined) cli.out(prunedText(pruned, manifest === null));
      if (pruned !== undefined && isIncomplete(pruned)) cli.setExitCode(3);
    });

  places("list", "every logical backup, and what interrupted runs have left").action(
    async (_: unknown, command) => {
      const options = command.optsWithGlobals() as DumpOptions;
      const { store, policy } = await settingOf(cli, options);
      const dumps = await listDumps(store, policy, new Date());
      if (options.json === true) cli.json({ location: store.location, dumps });
      else cli.out(listText(dumps, store, cli));
    },
  );

  places("show", "what a backup holds, from its manifest")
    .argument("[id]", "the backup (default: the newest)")
    .action(async (given: string | undefined, _: unknown, command) => {
      const options = command.optsWithGlobals() as DumpOptions;
      const { store } = await settingOf(cli, options);
      const manifest = await readManifest(store, given ?? (await newestDump(store)));
      if (options.json === true) cli.json(manifest);
      else cli.out(showText(manifest, cli));
    });

  withKeys("verify", "recompute checksums, decrypt, and read the table of contents; exit code 3 when damaged")
    .argument("[id]", "the backup (default: the newest)")
    .option("--deep", "also unpack every row with pg_restore")
    .action(async (given: string | undefined, _: unknown, command) => {
      const options = command.optsWithGlobals() as DumpOptions & { deep?: boolean };
      const setting = await settingOf(cli, options);
      const { store } = setting;
      const id = given ?? (await newestDump(store));
      const result = await verifyDump({
        store,
        id,
        keys: await keysFor(setting, id),
        tools: {
          path: cli.clientEnvironment.PATH,
          ...(options.binDir === undefined
            ? {}
            : { binDirectory: resolve(cli.workingDirectory, options.binDir) }),
        },
        deep: options.deep === true,
        now: new Date(),
        signal: cli.signal,
      });
      if (options.json === true) cli.json(result);
      else cli.out(verificationText(result));
      if (!result.ok) cli.setExitCode(3);
    });

  places("prune", "delete what the retention rules no longer want, and what interrupted runs have left")
    .option("--dry-run", "say what would be deleted and why, and delete nothing")
    .action(async (_: unknown, command) => {
      const options = command.optsWithGlobals() as DumpOptions;
      const dryRun = options.dryRun === true;
      const { store, policy } = await settingOf(cli, options);
      const pruned = await pruneDumps(store, policy, new Date(), { dryRun, signal: cli.signal });
      if (options.json === true) cli.json({ dryRun, ...pruned });
      else cli.out(prunedText(pruned, dryRun));
      if (isIncomplete(pruned)) cli.setExitCode(3);
    });

  withKeys("restore", "restore a backup into a new or an existing database")
    .argument("[id]", "the backup (default: the newest)")
    .option("--into <database>", "the database to restore into")
    .option("--create", "make that database; it gets its name when everything is in it")
    .option("--clean", "drop what the dump holds before restoring it into a database that is not empty")
    .option("--table <name>", "only this table: beside the original, or in its place when that is gone")
    .option("--as <name>", "with --table: its name beside the original (default: <table>_restored)")
    .option("--jobs <n>", "tables restored at the same time", wholeNumber(1, 64))
    .option("--no-owner", "everything belongs to the restoring role, and nothing is granted")
    .option("--no-analyze", "do not collect statistics afterwards")
    .option("--dry-run", "check everything, and change nothing")
    .action(async (given: string | undefined, _: unknown, command) => {
      const options = command.optsWithGlobals() as RestoreOptions;
      if (options.create === true && options.clean === true) {
        throw new UsageError("--create and --clean exclude each other");
      }
      if (options.table !== undefined) {
        await restoreOne(given, options, options.table);
        return;
      }
      const { into } = options;
      if (into === undefined) {
        throw new UsageError("nothing says where to restore", {
          remedy: "give --into DATABASE, with --create for a new one",
        });
      }
      if (options.as !== undefined) throw new UsageError("--as goes with --table");
      const setting = await settingOf(cli, options);
      const { store, jobs } = setting;
      const id = given ?? (await newestDump(store, into));
      const keys = await keysFor(setting, id);
      const restored = await withSource(options, (target) =>
        restoreDump({
          store,
          id,
          target,
          into,
          create: options.create === true,
          clean: options.clean === true,
          // All or nothing, unless somebody asks for speed: an existing database must not be left half-restored.
          jobs: options.jobs ?? (options.create === true ? jobs : 1),
          noOwner: !options.owner,
          analyze: options.analyze,
          keys,
          dryRun: options.dryRun === true,
          signal: cli.signal,
          progress: (message) => cli.note(message),
        }),
      );
      if (options.json === true) cli.json(restored);
      else cli.out(restoredText(restored));
    });

  async function restoreOne(given: string | undefined, options: RestoreOptions, text: string): Promise<void> {
    if (options.create === true || options.clean === true || options.jobs !== undefined) {
      throw new UsageError("--table goes without --create, --clean and --jobs");
    }
    const { schema, table: name } = parseTableName(text);
    const setting = await settingOf(cli, options);
    const { store } = setting;
    const restored = await withSource(options, async (target) => {
      const into = options.into ?? target.login.database;
      const id = given ?? (await newestDump(store, into));
      return restoreTable({
        store,
        id,
        target,
        into,
        table: { schema, name },
        as: options.as,
        noOwner: !options.owner,
        keys: await keysFor(setting, id),
        dryRun: options.dryRun === true,
        signal: cli.signal,
        progress: (message) => cli.note(message),
      });
    });
    if (options.json === true) cli.json(restored);
    else cli.out(restoredTableText(restored));
  }

  dump
    .command("swap")
    .description("put a table that was restored beside the original in its place, in one transaction")
    .argument("<table>", "the original, as in SQL with its schema")
    .argument("<restored>", "name of the restored table in the same schema")
    .option("--keep-as <name>", "the original's name afterwards (default: <table>_before)")
    .option("--lock-wait <seconds>", "how long to wait for the locks (default: 5)", wholeNumber(1, 300))
    .option("--dry-run", "say what would be run, and change nothing")
    .action(async (table: string, restored: string, _: unknown, command) => {
      const options = command.optsWithGlobals() as GlobalOptions & {
        keepAs?: string;
        lockWait?: number;
        dryRun?: boolean;
      };
      const { schema, table: original } = parseTableName(table);
      const environment = await cli.open(options);
      try {
        const session = await environment.connectAsMaster({
          statementTimeoutMilliseconds: 300_000,
          signal: cli.signal,
        });
        try {
          const swapped = await swapTables(session, {
            schema,
            original,
            restored,
            keepAs: options.keepAs ?? `${original}_before`,
            lockTimeoutSeconds: options.lockWait ?? 5,
            dryRun: options.dryRun === true,
          });
          if (options.json === true) cli.json(swapped);
          else cli.out(swappedText(swapped));
        } finally {
          await session.close();
        }
      } finally {
        await environment.close();
      }
    });

  dump
    .command("new-key")
    .description("make a key file to encrypt backups with; keep a copy where the backups are not")
    .argument("<file>", "its name; never overwritten")
    .action(async (file: string, _: unknown, command) => {
      const options = command.optsWithGlobals() as GlobalOptions;
      const recipient = await writeNewKeyFile(resolve(cli.workingDirectory, file), new Date());
      if (options.json === true) cli.json({ file, recipient });
      else
        cli.out(
          `${file}: public key ${recipient}\nWithout this file nothing encrypted for it can be restored.`,
        );
    });
};
