import { UsageError } from "../errors.ts";

const names = {
  month: ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
  weekday: ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
};

interface Field {
  name: string;
  min: number;
  max: number;
  /** Names by value, beginning with `min`. */
  names?: readonly string[];
}

const minute: Field = { name: "minute", min: 0, max: 59 };
const hour: Field = { name: "hour", min: 0, max: 23 };
const dayOfMonth: Field = { name: "day of month", min: 1, max: 31 };
const month: Field = { name: "month", min: 1, max: 12, names: names.month };
/** 7 is Sunday too, as in every cron. */
const dayOfWeek: Field = { name: "day of week", min: 0, max: 7, names: names.weekday };

/**
 * Five cron fields as EventBridge Scheduler writes them: six fields, one of the two days `?`, weekdays by name
 * because AWS counts them from 1 for Sunday (Amazon EventBridge Scheduler User Guide, "Schedule types").
 * @throws UsageError for what it cannot express, so that no schedule silently means something else
 */
export function schedulerExpression(fields: string, path: string): string {
  const parts = fields.trim().split(/\s+/);
  const [m, h, dom, mon, dow] = parts;
  if (
    parts.length !== 5 ||
    m === undefined ||
    h === undefined ||
    dom === undefined ||
    mon === undefined ||
    dow === undefined
  ) {
    throw refusal(path, fields, "it has not five fields");
  }
  const convert = (field: Field, text: string) =>
    list(field, text, (reason) => refusal(path, fields, reason));
  const monthDays = convert(dayOfMonth, dom);
  const weekdays = convert(dayOfWeek, dow);
  if (monthDays !== "*" && weekdays !== "*") {
    throw refusal(path, fields, "EventBridge Scheduler takes a day of month or a day of week, not both");
  }
  const days = weekdays === "*" ? [monthDays, "?"] : ["?", weekdays];
  return `cron(${convert(minute, m)} ${convert(hour, h)} ${days[0]} ${convert(month, mon)} ${days[1]} *)`;
}

type Refuse = (reason: string) => UsageError;

/** One field: its items with commas between them, as values that AWS reads the same way. */
function list(field: Field, text: string, refuse: Refuse): string {
  if (text === "*" || (text === "?" && (field === dayOfMonth || field === dayOfWeek))) return "*";
  return text
    .split(",")
    .map((item) => (field === dayOfWeek ? weekdayItem(item, refuse) : plainItem(field, item, refuse)))
    .join(",");
}

function plainItem(field: Field, item: string, refuse: Refuse): string {
  const { from, to, step } = range(field, item, refuse);
  if (step !== undefined) {
    // AWS writes "from the start, each nth": the end of a range with a step would be ignored by some parsers.
    if (to === field.max) return `${from}/${step}`;
    return valuesOf(from, to, step).join(",");
  }
  return from === to ? String(from) : `${from}-${to}`;
}

/** Weekdays one by one: a range over the end of the week and 7 for Sunday have no counterpart. */
function weekdayItem(item: string, refuse: Refuse): string {
  const { from, to, step = 1 } = range(dayOfWeek, item, refuse);
  const end = item.startsWith("*") ? 6 : to;
  const days = valuesOf(from, end, step).map((day) => names.weekday[day % 7]);
  return [...new Set(days)].join(",");
}

function valuesOf(from: number, to: number, step: number): number[] {
  return Array.from({ length: Math.floor((to - from) / step) + 1 }, (_, index) => from + index * step);
}

function range(field: Field, item: string, refuse: Refuse): { from: number; to: number; step?: number } {
  const [span = "", stepText, ...more] = item.split("/");
  const [first = "", last, ...rest] = span.split("-");
  if (more.length > 0 || rest.length > 0 || first === "" || last === "" || stepText === "") {
    throw refuse(`${JSON.stringify(item)} is no ${field.name}`);
  }
  const from = first === "*" ? field.min : value(field, first, refuse);
  const to =
    last !== undefined
      ? value(field, last, refuse)
      : first === "*" || stepText !== undefined
        ? field.max
        : from;
  if (to < from || (first === "*" && last !== undefined)) {
    throw refuse(`${JSON.stringify(item)} is no range of the ${field.name}`);
  }
  if (stepText === undefined) return { from, to };
  const step = /^\d+$/.test(stepText) ? Number(stepText) : 0;
  if (step < 1 || step > field.max) throw refuse(`${JSON.stringify(item)} has no step that can be taken`);
  return { from, to, step };
}

function value(field: Field, text: string, refuse: Refuse): number {
  const named = field.names?.indexOf(text.toUpperCase()) ?? -1;
  if (named >= 0) return named + field.min;
  const number = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(number >= field.min && number <= field.max)) {
    throw refuse(
      `${JSON.stringify(text)} is no ${field.name} that EventBridge Scheduler has in common with cron`,
    );
  }
  return number;
}

function refusal(path: string, fields: string, reason: string): UsageError {
  return new UsageError(
    `${path}: AWS cannot run a job at ${JSON.stringify(fields)}: ${reason}`,
    { remedy: `write five plain cron fields in ${path}, such as "30 2 * * *", or off` },
    "configuration",
  );
}
