import * as z from "zod";
import type { Proof } from "../drill/proof.ts";
import { proveSoFar } from "../drill/prove.ts";
import { PgkeepError, UsageError } from "../errors.ts";
import type { Backups, RestoreTarget } from "../ports/backups.ts";
import type { Endpoint } from "../ports/databases.ts";
import { again, defineJob, done, failed, type Run, type StepContext, type StepResult, step } from "./job.ts";

const argumentsSchema = z.strictObject({
  /** `latest`, `random` or a moment (ISO 8601 with zone); the default is in the configuration. */
  target: z.union([z.enum(["latest", "random"]), z.iso.datetime({ offset: true })]).optional(),
  /** Start from this backup instead of the newest that fits. */
  backupId: z.string().optional(),
});

type Arguments = z.output<typeof argumentsSchema>;

type Target = { kind: "latest" } | { kind: "time"; time: string };

type Restore = {
  instance: string;
  endpoint: { host: string; port: number };
  backupId: string;
  target: Target;
  restoredTo: string | null;
};

export type DrillReport = {
  rtoSeconds: number | null;
  rpoSeconds: number | null;
  /** Moment of the newest data: the target, or the last commit that was replayed. */
  restoredTo: string | null;
  proofs: Proof[];
  backupId: string | null;
  target: Target;
  tablesProved: number;
  notAssessable: string[];
};

const instancePrefix = "drill-";

/** All executions of proving together: well inside the time that a run may take. */
const mostProvingSeconds = 4 * 3_600;

/** Restores a backup into a fresh instance, proves the data, measures RTO and RPO, and removes the instance. */
export const drillRestore = defineJob({
  name: "drill-restore",
  summary: "Restore a backup into a fresh instance, prove the data, measure RTO and RPO, clean up",
  schedule: "30 4 1 * *",
  // The day to know that a restore works is the day the primary is gone.
  lock: "when-possible",
  parseArguments: (value): Arguments => {
    const parsed = argumentsSchema.safeParse(value ?? {});
    if (!parsed.success) throw new UsageError(`arguments of drill-restore: ${z.prettifyError(parsed.error)}`);
    return parsed.data;
  },
  describe: describeReport,
  steps: [
    step("restore", {
      where: "control-plane",
      needs: ["backups"],
      calls: { backups: ["list", "recoveryWindow", "restore", "restored", "discard"] },
      timeoutSeconds: 900,
      run: restore,
    }),
    step("prove", {
      where: "database",
      needs: ["restored", "primary"],
      timeoutSeconds: 3_600,
      role: "drill",
      run: (context: StepContext<Restore, "restored" | "primary">) => proveRestored(context),
    }),
    step("clean-up", {
      where: "control-plane",
      needs: ["backups"],
      calls: { backups: ["discard", "markVerified"] },
      timeoutSeconds: 900,
      always: true,
      run: cleanUp,
    }),
  ],
});

/** The same in each step of a run, so that clean-up finds what a killed step has made. */
function instanceName(run: Run): string {
  return `${instancePrefix}${run.id}`;
}

async function restore(context: StepContext<Arguments, "backups">): Promise<StepResult<Restore>> {
  const { ports, run, clock, config, input } = context;
  const instance = instanceName(run);
  const wanted = input.target ?? config.backups.drill.target;
  let target = context.resume as Target | undefined;
  try {
    if (target === undefined) {
      await discardLeftovers(ports.backups, instance, context);
      target = await chooseTarget(ports.backups, wanted);
      context.progress(`restoring ${target.kind === "latest" ? "everything archived" : target.time}`);
    }
    const state = await ports.backups.restore({
      name: instance,
      target: portTarget(target),
      ...(input.backupId === undefined ? {} : { fromBackupId: input.backupId }),
    });
    if (state.status === "restoring") return again(state.pollAfterSeconds, target);
    const { endpoint, backupId, lastCommitAt } = state;
    return done({
      instance,
      endpoint: { host: endpoint.host, port: endpoint.port },
      backupId,
      target,
      restoredTo:
        target.kind === "time"
          ? target.time
          : (lastCommitAt ?? (await begun(ports.backups, backupId))).toISOString(),
    });
  } catch (error) {
    context.deadline.throwIfAborted();
    if (!(error instanceof PgkeepError)) throw error;
    const report: DrillReport = {
      rtoSeconds: null,
      rpoSeconds: null,
      restoredTo: null,
      proofs: [{ name: "restore", ok: false, detail: error.message }],
      backupId: input.backupId ?? null,
      target: target ?? { kind: "latest" },
      tablesProved: 0,
      notAssessable: [`the data: nothing was restored by ${clock.now().toISOString()}`],
    };
    // The report of a failed run is the whole report, whichever step found the failure.
    return failed(report as unknown as Restore, error.message);
  }
}

/** When nothing was committed after the backup began, what is restored is the state of that moment. */
async function begun(backups: Backups, backupId: string): Promise<Date> {
  const backup = (await backups.list()).find(({ id }) => id === backupId);
  if (backup === undefined) throw new PgkeepError("not-found", `the backup ${backupId} is gone`);
  return backup.startedAt;
}

/** A drill that was killed leaves its instance; its name tells, and no two drills run at once. */
async function discardLeftovers(
  backups: Backups,
  own: string,
  context: StepContext<Arguments, "backups">,
): Promise<void> {
  for (const name of (await backups.restored?.()) ?? []) {
    if (!name.startsWith(instancePrefix) || name === own) continue;
    context.progress(`removing ${name}, which an earlier drill has left`);
    await backups.discard(name);
  }
}

async function chooseTarget(backups: Backups, wanted: string): Promise<Target> {
  if (wanted === "latest") return { kind: "latest" };
  if (wanted !== "random") return { kind: "time", time: new Date(wanted).toISOString() };
  const window = await backups.recoveryWindow();
  if (window === undefined) return { kind: "latest" }; // the restore says what is missing
  const span = window.latest.getTime() - window.earliest.getTime();
  const time = new Date(window.earliest.getTime() + Math.floor(Math.random() * (span + 1)));
  return { kind: "time", time: time.toISOString() };
}

function portTarget(target: Target): RestoreTarget {
  return target.kind === "latest" ? target : { kind: "time", time: new Date(target.time) };
}

async function proveRestored(
  context: StepContext<Restore, "restored" | "primary">,
): Promise<StepResult<DrillReport>> {
  const { input, ports, run, clock, config, deadline } = context;
  const endpoint: Endpoint = input.endpoint;
  const login = { role: "drill", statementTimeoutMilliseconds: 0, signal: deadline } as const;
  const result = await proveSoFar({
    connectRestored: () => ports.restored.connect(endpoint, login),
    connectPrimary: () => ports.primary.connect(login),
    backupId: input.backupId,
    database: config.database.name,
    ...(input.target.kind === "time" ? { targetTime: new Date(input.target.time) } : {}),
    startedAt: run.startedAt,
    now: () => clock.now(),
    maxRtoSeconds: config.backups.drill.maxRtoSeconds,
    maxRpoSeconds: config.backups.drill.maxRpoSeconds,
    signal: deadline,
    progress: context.progress,
    timeLeft: context.timeLeft,
    atMostMilliseconds: mostProvingSeconds * 1000,
    resume: context.resume,
  });
  if (result.kind === "unfinished") {
    context.progress("the time of this execution is over: the next one goes on");
    return again(0, result.state);
  }
  const { proved } = result;
  const report: DrillReport = {
    rtoSeconds: proved.rtoSeconds,
    rpoSeconds: proved.rpoSeconds,
    restoredTo: input.restoredTo,
    proofs: proved.proofs,
    backupId: input.backupId,
    target: input.target,
    tablesProved: proved.tablesProved,
    notAssessable: proved.notAssessable,
  };
  if (report.rtoSeconds !== null) context.measure("DrillRtoSeconds", report.rtoSeconds);
  if (report.rpoSeconds !== null) context.measure("DrillRpoSeconds", report.rpoSeconds);
  const wrong = report.proofs.filter(({ ok }) => !ok);
  if (wrong.length === 0) return done(report);
  return failed(report, wrong.map(({ name, detail }) => `${name}: ${detail}`).join("; "));
}

async function cleanUp(
  context: StepContext<Restore | DrillReport | null, "backups">,
): Promise<StepResult<{ discarded: string }>> {
  const { input, ports, run, clock } = context;
  const discarded = instanceName(run);
  await ports.backups.discard(discarded);
  const proved =
    input !== null && "proofs" in input && input.proofs.length > 0 && input.proofs.every(({ ok }) => ok);
  if (proved && input.backupId !== null) await ports.backups.markVerified(input.backupId, clock.now());
  return done({ discarded });
}

function describeReport(report: DrillReport): string[] {
  const lines = [
    `${report.backupId ?? "no backup"}, restored to ${report.restoredTo ?? "nothing"}`,
    `RTO ${report.rtoSeconds ?? "?"} s, RPO ${report.rpoSeconds ?? "?"} s, ${report.tablesProved} tables proved`,
  ];
  for (const { name, ok, detail } of report.proofs) lines.push(`${ok ? "✓" : "✗"} ${name}: ${detail}`);
  for (const gap of report.notAssessable) lines.push(`? ${gap}`);
  return lines;
}
