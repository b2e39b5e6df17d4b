import { shown } from "../problems.ts";
import { duration, longestPeriodSeconds } from "../schedule.ts";
import { databaseRule, error, warning } from "./rule.ts";

export const scheduleRules = [
  databaseRule({
    name: "valid-schedule",
    demand:
      "each schedule is five valid cron fields that come true, with at most one of day of month and day of week",
    source:
      "croner's grammar; Amazon EventBridge Scheduler refuses expressions that fix both the day of month and of week",
    check: ({ schedules }) =>
      Object.entries(schedules).flatMap(([job, fields]) => {
        if (job === "timeZone" || fields === undefined || fields === "off") return [];
        const wrong = whatIsWrong(fields);
        return wrong === undefined
          ? []
          : [error(`schedules.${job}`, `${shown(fields)} is not allowed; ${wrong}`)];
      }),
  }),
  databaseRule({
    name: "backups-every-day",
    demand: "`schedules.back-up` is not `off`, and leaves no more than a day between two backups",
    source: "backups.keepDaily counts days with a backup",
    check: ({ schedules }) => {
      const fields = schedules["back-up"];
      if (fields === undefined) return [];
      if (fields === "off") return [warning("schedules.back-up", "off, so no backup is taken")];
      const period = whatIsWrong(fields) === undefined ? longestPeriodSeconds(fields) : undefined;
      return period !== undefined && period > 86_400
        ? [
            warning(
              "schedules.back-up",
              `leaves up to ${duration(period)} between two backups; backups.keepDaily counts on one each day`,
            ),
          ]
        : [];
    },
  }),
  databaseRule({
    name: "recovery-watched",
    demand: "`schedules.check-recovery` is not `off`, and leaves no more than an hour between two looks",
    source: "AWS ships the log every five minutes; who looks rarely learns late that it does not",
    check: ({ schedules }) => {
      const fields = schedules["check-recovery"];
      if (fields === undefined) return [];
      if (fields === "off") {
        return [
          warning(
            "schedules.check-recovery",
            "off, so nobody notices when changes can no longer be restored",
          ),
        ];
      }
      const period = whatIsWrong(fields) === undefined ? longestPeriodSeconds(fields) : undefined;
      return period !== undefined && period > 3_600
        ? [
            warning(
              "schedules.check-recovery",
              `leaves up to ${duration(period)} in which nobody notices that changes can no longer be restored`,
            ),
          ]
        : [];
    },
  }),
];

function whatIsWrong(fields: string): string | undefined {
  const [, , dayOfMonth = "*", , dayOfWeek = "*"] = fields.split(" ");
  try {
    if (longestPeriodSeconds(fields) === undefined) return "it never comes true";
  } catch (cause) {
    const reason = (cause instanceof Error ? cause.message : String(cause)).replace(/^CronPattern: /, "");
    return `five cron fields (minute, hour, day of month, month, day of week): ${reason}`;
  }
  if (!/^[*?]/.test(dayOfMonth) && !/^[*?]/.test(dayOfWeek)) {
    return "fix the day of month or the day of week, not both";
  }
  return undefined;
}
