import type { Config, DatabaseConfig } from "../schema.ts";
import { databaseRule, error, type Rule, type RuleFinding, warning } from "./rule.ts";

const prefixes = ["exports", "dumps", "media"] as const;

/** Longest key with which pgkeep-KEY-files-ACCOUNT-REGION has 63 characters in every region. */
const longestKey = 22;

export const filesRules: Rule[] = [
  databaseRule({
    name: "files-bucket-name",
    demand: `the database's key has at most ${longestKey} characters when \`files.enabled\` is true and \`files.bucketName\` is not given`,
    source: "Amazon S3 User Guide, General purpose bucket naming rules: at most 63 characters",
    check: ({ key, files }) =>
      files.enabled && files.bucketName === undefined && key.length > longestKey
        ? [
            error(
              "files.bucketName",
              `pgkeep-${key}-files-ACCOUNT-REGION is longer than the 63 characters of a bucket's name; give one`,
            ),
          ]
        : [],
  }),
  {
    name: "files-buckets-apart",
    demand: "no two databases share a `files.bucketName`",
    source: "the name of a bucket exists once",
    check: ({ config }) => sharedNames(config),
  },
  databaseRule({
    name: "files-lifecycle-ordered",
    demand:
      "below each prefix of `files`, `archiveAfterDays` is at least 30 days after `infrequentAccessAfterDays`, and `expireAfterDays` after both",
    source:
      "Amazon S3 User Guide, Transitioning objects using S3 Lifecycle: 30 days in Standard-IA; an expiration comes after the transitions",
    check: ({ files }) =>
      files.enabled ? prefixes.flatMap((prefix) => disordered(prefix, files[prefix])) : [],
  }),
  databaseRule({
    name: "files-lock-within-retention",
    demand:
      "`files.objectLock.days` is not above `expireAfterDays` and `files.noncurrentDays` together, below any prefix",
    source:
      "Amazon S3 User Guide, Object Lock considerations: a lifecycle deletes no version that is locked, so it would stay longer than it is to be kept",
    check: ({ files }) => (files.enabled && files.objectLock.mode !== "off" ? lockedTooLong(files) : []),
  }),
  databaseRule({
    name: "files-lock-irrevocable",
    demand: "`files.objectLock.mode` `compliance` is known to be irrevocable",
    source:
      "Amazon S3 User Guide, Object Lock, compliance mode: no user can delete a locked version, the root user included",
    check: ({ files }) =>
      files.enabled && files.objectLock.mode === "compliance"
        ? [
            warning(
              "files.objectLock.mode",
              `compliance: nobody can delete a file, nor stop paying for it, for ${files.objectLock.days} days`,
            ),
          ]
        : [],
  }),
];

function sharedNames({ databases }: Config): RuleFinding[] {
  const owners = new Map<string, string>();
  return databases.flatMap(({ key, files }) => {
    const { enabled, bucketName } = files;
    if (!enabled || bucketName === undefined) return [];
    const first = owners.get(bucketName);
    if (first === undefined) {
      owners.set(bucketName, key);
      return [];
    }
    return [
      {
        ...error("files.bucketName", `${bucketName} is also the bucket of ${first}; one each`),
        database: key,
      },
    ];
  });
}

function disordered(
  prefix: (typeof prefixes)[number],
  {
    infrequentAccessAfterDays: rare,
    archiveAfterDays: archive,
    expireAfterDays: expire,
  }: DatabaseConfig["files"]["media"],
) {
  const at = (setting: string) => `files.${prefix}.${setting}`;
  const last = Math.max(rare ?? 0, archive ?? 0);
  return [
    ...(rare !== undefined && archive !== undefined && archive < rare + 30
      ? [
          error(
            at("archiveAfterDays"),
            `${archive} is less than 30 days after infrequentAccessAfterDays, ${rare}; S3 refuses that`,
            [at("infrequentAccessAfterDays")],
          ),
        ]
      : []),
    ...(expire !== undefined && last > 0 && expire <= last
      ? [
          error(
            at("expireAfterDays"),
            `${expire} is not after ${last}, when objects move to another storage class; S3 refuses that`,
            [at("infrequentAccessAfterDays"), at("archiveAfterDays")],
          ),
        ]
      : []),
  ];
}

function lockedTooLong({ objectLock, noncurrentDays, ...files }: DatabaseConfig["files"]) {
  return prefixes.flatMap((prefix) => {
    const expire = files[prefix].expireAfterDays;
    if (expire === undefined || objectLock.days <= expire + noncurrentDays) return [];
    return [
      error(
        "files.objectLock.days",
        `${objectLock.days} keeps what is below ${prefix}/ locked for longer than it is to be kept, ${expire} (expireAfterDays) and ${noncurrentDays} (noncurrentDays) days`,
        [`files.${prefix}.expireAfterDays`, "files.noncurrentDays"],
      ),
    ];
  });
}
