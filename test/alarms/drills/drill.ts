import type { Alarm } from "../../../lib/alarms/alarm.ts";
import type { DatabaseConfig } from "../../../lib/config/schema.ts";
import type { Json } from "../../../lib/json.ts";
import type { DrillSandbox, Told } from "./drill-sandbox.ts";

/** Something that is broken, and the alarm that has to tell of it. */
export interface Drill {
  /** Name in the catalogue of this database: the entry's, with the subject's where it has one. */
  alarm: string;
  /** As on the command line of `pgkeep sandbox fault`. */
  fault: string;
  /** Limits in seconds or bytes that take too long to reach: settings by their path, with their value. */
  lowers?: Readonly<Record<string, number>>;
  /** The alarm's own limit, where no setting has it. */
  limit?: number;
  /** What the message has to name beside database, cause and command: the slot, the table, the role. */
  names?: RegExp;
  /** It builds up in real time, so that how many minutes it takes says nothing. */
  grows?: true;
  /** Root causes that are taken out of the catalogue, as they would be told in place of this alarm. */
  without?: readonly string[];
}

/** A job that somebody starts. */
export interface StartedJob {
  job: string;
  arguments?: Json;
}

/** Drills whose faults do not disturb each other: applied together, repaired together. */
export interface Wave {
  name: string;
  drills: readonly Drill[];
  /** Alarms that these faults may bring with them besides, each told once as well. */
  also?: readonly string[];
  /** Least real time of a tick, for what needs real time to build up. */
  paceMilliseconds?: number;
  /** Jobs that somebody starts after the faults are on, and again after they are repaired. */
  runs?: readonly StartedJob[];
  /** Runs only when everything is asked for. */
  slow?: boolean;
  /** Simulated days that pass without a tick once the faults are repaired: for alarms that look back for as long. */
  leapDays?: number;
  /** Most ticks from the faults to the last message. Default 40. */
  atMostTicks?: number;
}

export interface DrillResult {
  drill: Drill;
  /** From the fault to the message; undefined when none came. */
  secondsToMessage: number | undefined;
  /** How often somebody was told that it began. */
  told: number;
  /** `yes`: told once that it is over. `without data`: what was measured is gone with the fault, and nobody is told. */
  cleared: "yes" | "without data" | "no";
  /** What somebody got. */
  message: Told | undefined;
}

export interface WaveResult {
  wave: Wave;
  results: readonly DrillResult[];
  /** Messages that nobody should have got. */
  unexpected: readonly string[];
  /** Alarms that had something to tell without a fault, before and after. */
  notQuiet: readonly string[];
  /** In alarm, and silent because a root cause was told. */
  silenced: readonly string[];
  /** Still in alarm after their cure. */
  notCured: readonly string[];
}

const quietTicks = 3;
/** A consequence waits five minutes for its root cause: by then it would have told. */
const lingerTicks = 7;
const defaultAtMostTicks = 40;
/** As long as most alarms look back. */
const cureTicks = 20;

/** The configuration with what the drills lower. */
export function lowered(config: DatabaseConfig, drills: readonly Drill[]): DatabaseConfig {
  const result = structuredClone(config) as unknown as Record<string, unknown>;
  for (const [path, value] of drills.flatMap(({ lowers }) => Object.entries(lowers ?? {}))) {
    const keys = path.split(".");
    const last = keys.pop() as string;
    const section = keys.reduce<unknown>((at, key) => (at as Record<string, unknown>)[key], result);
    if (section === null || typeof section !== "object" || !(last in section)) {
      throw new TypeError(`there is no setting ${path} to lower`);
    }
    (section as Record<string, unknown>)[last] = value;
  }
  return result as unknown as DatabaseConfig;
}

/** The catalogue's alarms with the drills' own limits, and without what they leave out. */
export function adjusted(alarms: readonly Alarm[], drills: readonly Drill[]): Alarm[] {
  const limits = new Map(
    drills.flatMap(({ alarm, limit }): [string, number][] => (limit === undefined ? [] : [[alarm, limit]])),
  );
  const without = new Set(drills.flatMap((drill) => drill.without ?? []));
  // What asks for a checkpoint in a simulated hour (backups, drills, faults) does so within seconds here.
  if (!drills.some(({ alarm }) => alarm === "checkpoint-storm")) without.add("checkpoint-storm");
  const stays = (name: string) => !without.has(name);
  return alarms
    .filter(({ name }) => stays(name))
    .map((alarm) => ({
      ...alarm,
      threshold: limits.get(alarm.name) ?? alarm.threshold,
      consequenceOf: alarm.consequenceOf.filter(stays),
    }));
}

export interface WaveHooks {
  /** When nothing is broken yet. */
  beforehand?(drills: readonly Drill[]): Promise<void>;
  /** When everybody was told and nothing is repaired yet. */
  onceTold?(drills: readonly Drill[], since: Date): Promise<void>;
  /** Cures what can be cured without repairing the faults. Resolves to the alarms that have to clear by it. */
  cure?(drills: readonly Drill[], since: Date): Promise<readonly string[]>;
}

/** Quiet, faults, messages, repair, quiet. */
export async function runWave(
  sandbox: DrillSandbox,
  config: DatabaseConfig,
  wave: Wave,
  { beforehand, onceTold, cure }: WaveHooks = {},
): Promise<WaveResult> {
  const { drills, atMostTicks = defaultAtMostTicks } = wave;
  const faults = [...new Set(drills.map(({ fault }) => fault))];
  sandbox.watch({ config: lowered(config, drills), adjust: (alarms) => adjusted(alarms, drills) });
  sandbox.paceMilliseconds = wave.paceMilliseconds ?? 0;
  await sandbox.tickTimes(quietTicks);
  const notQuiet = [...describeTold(sandbox.told), ...describeInAlarm(sandbox)];
  await beforehand?.(drills);
  const appliedAt = sandbox.now;
  const since = new Date();
  let notCured: string[] = [];
  const silenced = new Set<string>();
  try {
    for (const fault of faults) await sandbox.running.applyFault(fault, false);
    for (const job of wave.runs ?? []) sandbox.runAtNextTick(job);
    await tickUntil(sandbox, atMostTicks, () =>
      drills.every((drill) => messages(sandbox, drill, "ALARM").length > 0),
    );
    for (let tick = 0; tick < lingerTicks; tick++) {
      await sandbox.tick();
      for (const { alarm, suppressedBy } of sandbox.inAlarm()) {
        if (suppressedBy?.by === "alarm") silenced.add(alarm.name);
      }
    }
    await onceTold?.(drills, since);
    notCured = await notClearedBy(sandbox, (await cure?.(drills, since)) ?? []);
  } finally {
    for (const fault of faults.toReversed()) await sandbox.running.applyFault(fault, true);
  }
  if (wave.leapDays !== undefined) {
    // What counters hold of the time before the repair is measured once more, and left behind.
    for (const job of wave.runs ?? []) sandbox.runAtNextTick(job);
    await sandbox.tick();
    sandbox.time.advance(wave.leapDays * 86_400);
    // Two periods without its success would be over, as after any night in which nothing ran.
    sandbox.runAtNextTick({ job: "check-recovery" });
  }
  for (const job of wave.runs ?? []) sandbox.runAtNextTick(job);
  await tickUntil(sandbox, atMostTicks, () => isOver(sandbox));
  await sandbox.tickTimes(1);
  const expected = new Set([...drills.map(({ alarm }) => alarm), ...(wave.also ?? [])]);
  return {
    wave,
    results: drills.map((drill) => resultOf(sandbox, drill, appliedAt)),
    unexpected: describeTold(sandbox.told.filter(({ alarm }) => !expected.has(alarm.name))),
    notQuiet: [...notQuiet, ...describeInAlarm(sandbox)],
    silenced: [...silenced].sort(),
    notCured,
  };
}

/** Those of these alarms that are still on some minutes later. */
async function notClearedBy(sandbox: DrillSandbox, cured: readonly string[]): Promise<string[]> {
  const left = () =>
    sandbox.inAlarm().flatMap(({ alarm }) => (cured.includes(alarm.name) ? [alarm.name] : []));
  await tickUntil(sandbox, cureTicks, () => left().length === 0);
  return left();
}

async function tickUntil(sandbox: DrillSandbox, atMost: number, isDone: () => boolean): Promise<void> {
  for (let tick = 0; tick < atMost && !isDone(); tick++) await sandbox.tick();
}

function messages(sandbox: DrillSandbox, { alarm }: Drill, to: "ALARM" | "OK"): Told[] {
  return sandbox.told.filter((told) => told.alarm.name === alarm && told.to === to);
}

/** Nothing is in alarm, and whoever was told that something began was told that it is over. */
function isOver(sandbox: DrillSandbox): boolean {
  const count = (name: string, wanted: "ALARM" | "OK") =>
    sandbox.told.filter(({ alarm, to }) => alarm.name === name && to === wanted).length;
  return sandbox.view().every(
    ({ alarm, state }) =>
      state !== "ALARM" &&
      (count(alarm.name, "ALARM") === count(alarm.name, "OK") ||
        // Of an alarm that tells people itself, the end for want of data is not told.
        (state === "INSUFFICIENT_DATA" && alarm.consequenceOf.length === 0)),
  );
}

function resultOf(sandbox: DrillSandbox, drill: Drill, appliedAt: Date): DrillResult {
  const began = messages(sandbox, drill, "ALARM");
  const [first] = began;
  return {
    drill,
    secondsToMessage: first === undefined ? undefined : (first.at.getTime() - appliedAt.getTime()) / 1000,
    told: began.length,
    cleared: clearedOf(sandbox, drill),
    message: first,
  };
}

function clearedOf(sandbox: DrillSandbox, drill: Drill): DrillResult["cleared"] {
  if (messages(sandbox, drill, "OK").length === 1) return "yes";
  const state = sandbox.view().find(({ alarm }) => alarm.name === drill.alarm)?.state;
  return state === "INSUFFICIENT_DATA" ? "without data" : "no";
}

function describeTold(told: readonly Told[]): string[] {
  return told.map(
    ({ alarm, to, at, evaluation }) => `${alarm.name} ${to} at ${at.toISOString()}: ${evaluation.reason}`,
  );
}

function describeInAlarm(sandbox: DrillSandbox): string[] {
  return sandbox.inAlarm().map(({ alarm, reason }) => `${alarm.name} is in alarm: ${reason}`);
}
