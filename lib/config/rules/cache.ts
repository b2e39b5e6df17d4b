import { databaseRule, error, warning } from "./rule.ts";
import { daily, overlap, overlapInWeek, weekly } from "./windows.ts";

/** Longest key with which pgkeep-KEY-app has 40 characters. */
const longestKey = 29;
const shortestMinutes = 60;

export const cacheRules = [
  databaseRule({
    name: "cache-names-fit",
    demand: `the database's key has at most ${longestKey} characters when \`cache.enabled\` is true`,
    source: "Amazon ElastiCache API, CreateReplicationGroup and CreateUser: at most 40 characters",
    check: ({ key, cache }) =>
      cache.enabled && key.length > longestKey
        ? [
            error(
              "cache.enabled",
              `pgkeep-${key}-app is longer than the 40 characters of a name in ElastiCache; choose a key of at most ${longestKey}`,
            ),
          ]
        : [],
  }),
  databaseRule({
    name: "cache-windows-long-enough",
    demand: `\`cache.snapshotWindow\` and \`cache.maintenanceWindow\` last at least ${shortestMinutes} minutes`,
    source:
      "Amazon ElastiCache API, CreateReplicationGroup: PreferredMaintenanceWindow, at least 60 minutes; ElastiCache User Guide, Scheduling automatic backups: a backup window of at least 60 minutes",
    check: ({ cache }) =>
      cache.enabled
        ? [
            ...tooShort("cache.snapshotWindow", cache.snapshotWindow, daily(cache.snapshotWindow).length),
            ...tooShort(
              "cache.maintenanceWindow",
              cache.maintenanceWindow,
              weekly(cache.maintenanceWindow).length,
            ),
          ]
        : [],
  }),
  databaseRule({
    name: "cache-windows-apart",
    demand:
      "`cache.maintenanceWindow` overlaps neither `cache.snapshotWindow` nor the database's `maintenance.window`",
    source:
      "a snapshot is not taken of a node under maintenance; a cold cache sends its load to the database",
    check: ({ cache, maintenance }) => {
      if (!cache.enabled) return [];
      const window = weekly(cache.maintenanceWindow);
      return [
        ...(cache.snapshotRetentionDays > 0 && overlap(window, daily(cache.snapshotWindow))
          ? [
              error(
                "cache.maintenanceWindow",
                `${cache.maintenanceWindow} overlaps cache.snapshotWindow, ${cache.snapshotWindow}; move one of them`,
                ["cache.snapshotWindow"],
              ),
            ]
          : []),
        ...(overlapInWeek(window, weekly(maintenance.window))
          ? [
              warning(
                "cache.maintenanceWindow",
                `${cache.maintenanceWindow} overlaps maintenance.window, ${maintenance.window}; both may be away at once`,
                ["maintenance.window"],
              ),
            ]
          : []),
      ];
    },
  }),
];

function tooShort(path: string, text: string, minutes: number) {
  return minutes < shortestMinutes
    ? [error(path, `${text} is not allowed; at least ${shortestMinutes} minutes`)]
    : [];
}
