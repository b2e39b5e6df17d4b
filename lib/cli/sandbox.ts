import { PgkeepError, UsageError } from "../errors.ts";
import { explain } from "../jobs/explain-alarm.ts";
import { jobs } from "../jobs/index.ts";
import { pageNotification } from "../jobs/page-notification.ts";
import type { PostgresMajor } from "../postgres/versions.ts";
import { supportedMajors } from "../postgres/versions.ts";
import { requestFault } from "../sandbox/control.ts";
import { isScheduleDisabled } from "../sandbox/faults/disable-schedule.ts";
import { faultNamed, faults } from "../sandbox/faults/index.ts";
import { type RunningSandbox, startSandbox } from "../sandbox/sandbox.ts";
import { startScheduler } from "../sandbox/scheduler.ts";
import type { SandboxState } from "../sandbox/state.ts";
import { findSandbox } from "../sandbox/state-file.ts";
import type { Cli, GlobalOptions, Register } from "./cli.ts";
import { faultList } from "./fault-list.ts";
import { several, wholeNumber } from "./options.ts";
import { describeOutcome, runOnce } from "./sandbox-once.ts";
import { showStatus } from "./sandbox-status.ts";
import { serveSandboxStatus } from "./status.ts";

interface SandboxCommandOptions extends GlobalOptions {
  replicas?: number;
  postgres?: PostgresMajor;
  once?: boolean;
  fault?: string[];
  repair?: boolean;
  port?: number;
}

/** `pgkeep sandbox`: real PostgreSQL with replicas, archiving and every job, on this machine. */
export const registerSandbox: Register = (program, cli) => {
  const sandbox = program
    .command("sandbox")
    .summary("bring up real PostgreSQL with replicas, WAL archiving, a workload and every job")
    .description(
      "Bring up real PostgreSQL on this machine: a primary with continuous WAL archiving, streaming replicas, the roles and schema pgkeep installs, a sample application with a workload, PgBouncer where the machine has it, and every job on its schedule. Ctrl-C ends it and removes everything.",
    )
    .option(
      "--replicas <n>",
      "streaming replicas (default: replicas.count of the configuration)",
      wholeNumber(0, 15),
    )
    .option(
      "--postgres <major>",
      `PostgreSQL ${supportedMajors.join(", ")} (default: database.engineVersion)`,
      postgresMajor,
    )
    .option(
      "--port <number>",
      "port of the status page on 127.0.0.1 (default: a free one)",
      wholeNumber(0, 65_535),
    )
    .option("--once", "run the workload and every job once, print the result, and end")
    .option("--fault <name>", "with --once: break this after the backup; may be repeated", several)
    .action(async (_: unknown, command) => {
      const options = command.optsWithGlobals() as SandboxCommandOptions;
      if (options.url !== undefined)
        throw new UsageError("a sandbox takes no --url: it brings its own servers");
      if (options.fault !== undefined && options.once !== true) {
        throw new UsageError("--fault goes with --once", {
          remedy: "break a running sandbox with `pgkeep sandbox fault NAME`",
        });
      }
      for (const name of options.fault ?? []) faultNamed(name);
      if (options.port !== undefined && options.once === true) {
        throw new UsageError("--once ends before a status page is of use: leave --port away");
      }
      if (options.json === true && options.once !== true)
        throw new UsageError("--json goes with --once here");
      await runSandbox(cli, options);
    });
  sandbox
    .command("url")
    .description(
      "print the URL of the running sandbox's primary, with the password of its master user, for psql",
    )
    .action(async () => {
      const state = await requireSandbox(cli);
      const url = new URL(`postgres://127.0.0.1:${state.primary.port}/`);
      url.username = encodeURIComponent(state.master.user);
      url.password = encodeURIComponent(state.master.password);
      url.pathname = `/${encodeURIComponent(state.database)}`;
      cli.out(url.href);
    });
  sandbox
    .command("fault")
    .summary("break the running sandbox on purpose, or repair it")
    .description(`Break the running sandbox on purpose, or repair it.\n\n${faultList(faults)}`)
    .argument("<name>", "which fault")
    .option("--repair", "undo it")
    .action(async (name: string, _: unknown, command) => {
      const options = command.optsWithGlobals() as SandboxCommandOptions;
      faultNamed(name);
      const report = await requestFault(await requireSandbox(cli), { name, repair: options.repair === true });
      if (options.json === true) cli.json(report);
      else cli.out(report.message);
    });
};

async function requireSandbox(cli: Cli): Promise<SandboxState> {
  const state = await findSandbox(cli.homeDirectory);
  if (state !== undefined) return state;
  throw new PgkeepError("no-sandbox", "no sandbox is running", { remedy: "start one with `pgkeep sandbox`" });
}

function postgresMajor(text: string): PostgresMajor {
  const major = supportedMajors.find((supported) => String(supported) === text);
  if (major === undefined) {
    throw new UsageError(`${JSON.stringify(text)} is not a version the sandbox can run`, {
      remedy: `choose one of ${supportedMajors.join(", ")}`,
    });
  }
  return major;
}

async function runSandbox(cli: Cli, options: SandboxCommandOptions): Promise<void> {
  const config = await cli.loadDatabaseConfig(options);
  const sandbox = await startSandbox({
    config,
    configFile: options.config ?? null,
    homeDirectory: cli.homeDirectory,
    ...(options.replicas === undefined ? {} : { replicas: options.replicas }),
    ...(options.postgres === undefined ? {} : { postgresMajor: options.postgres }),
    onProgress: (line) => cli.note(line),
    signal: cli.signal,
  });
  try {
    if (options.once === true) await once(cli, options, sandbox);
    else await live(cli, options, sandbox);
  } finally {
    await sandbox.stop();
  }
}

async function once(cli: Cli, options: SandboxCommandOptions, sandbox: RunningSandbox): Promise<void> {
  const report = await runOnce(sandbox, {
    faults: options.fault ?? [],
    signal: cli.signal,
    onProgress: (line) => cli.note(line),
  });
  if (options.json === true) cli.json(report);
  else cli.out(`${report.outcome}: ready in ${report.ready.seconds} s, ${report.jobs.length} jobs run`);
  if (report.outcome === "failed") cli.setExitCode(3);
}

/** Until Ctrl-C: every job once, then each on its schedule and every alarm each minute; and the status as a page. */
async function live(cli: Cli, options: SandboxCommandOptions, sandbox: RunningSandbox): Promise<void> {
  const status = await serveSandboxStatus(sandbox.environment, sandbox.state, {
    signal: cli.signal,
    ...(options.port === undefined ? {} : { port: options.port }),
  });
  const view = showStatus(cli, sandbox, status.url);
  const scheduler = startScheduler({
    jobs,
    environment: sandbox.environment,
    signal: cli.signal,
    onResult: (result) => view.jobEnded(result, describeOutcome(result)),
    isDisabled: (job) => isScheduleDisabled(sandbox.state, job),
  });
  view.setSchedule(() => scheduler.next());
  try {
    await scheduler.runAllOnce();
    if (!cli.signal.aborted) {
      await sandbox.startAlarms({
        jobs,
        describe: async (transition) => {
          const page = await explain({ environment: sandbox.environment, transition });
          view.paged(page);
          return pageNotification(page);
        },
        onTransition: (transition) => view.alarmChanged(transition),
        onProblem: (text) => cli.note(text),
      });
    }
    await new Promise<void>((resolve) => {
      if (cli.signal.aborted) resolve();
      else cli.signal.addEventListener("abort", () => resolve(), { once: true });
    });
  } finally {
    await status.close();
    await scheduler.stop();
    view.end();
  }
}
