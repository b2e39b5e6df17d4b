import { createLogUpdate } from "log-update";
import type { Page } from "../alarms/page/page.ts";
import { pageText } from "../alarms/page/text.ts";
import type { JobResult } from "../jobs/job.ts";
import type { AlarmView, Transition } from "../sandbox/alarms/watch.ts";
import type { RunningSandbox } from "../sandbox/sandbox.ts";
import { countText, durationText } from "../words.ts";
import type { Cli } from "./cli.ts";

export interface StatusView {
  jobEnded(result: JobResult, line: string): void;
  alarmChanged(transition: Transition): void;
  /** Somebody is told. */
  paged(page: Page): void;
  setSchedule(next: () => { job: string; at: Date }[]): void;
  end(): void;
}

/** A picture that renews itself each second on a terminal; a line for each event elsewhere. `page` is its URL. */
export function showStatus(cli: Cli, sandbox: RunningSandbox, page: string): StatusView {
  if (!cli.isTerminal) return plainView(cli, sandbox, page);
  const update = createLogUpdate(process.stdout);
  const results = new Map<string, JobResult>();
  let next: () => { job: string; at: Date }[] = () => [];
  const draw = async () => update(await picture(cli, sandbox, page, results, next()));
  const timer = setInterval(() => void draw(), 1_000);
  void draw();
  return {
    jobEnded: (result) => void results.set(result.job, result),
    // The picture shows every alarm that is on.
    alarmChanged: () => {},
    paged: (told) => {
      update.clear();
      cli.out(pageText(told));
      void draw();
    },
    setSchedule: (schedule) => {
      next = schedule;
    },
    end: () => {
      clearInterval(timer);
      update.done();
    },
  };
}

function plainView(cli: Cli, sandbox: RunningSandbox, page: string): StatusView {
  for (const line of whereItIs(sandbox, page)) cli.out(line);
  return {
    jobEnded: (_, line) => cli.out(`${new Date().toISOString()} ${line}`),
    alarmChanged: ({ alarm, to, evaluation }) =>
      cli.out(
        `${new Date().toISOString()} ${alarm.severity} ${alarm.name} is ${to}: ${alarm.title}; ${evaluation.reason}`,
      ),
    paged: (told) => cli.out(pageText(told).replace(/^/gm, "  ")),
    setSchedule: () => {},
    end: () => {},
  };
}

function whereItIs(sandbox: RunningSandbox, page: string): string[] {
  const { state } = sandbox;
  return [
    `ready in ${sandbox.readySeconds} s: PostgreSQL ${state.postgresMajor}, database ${JSON.stringify(state.database)}`,
    `primary 127.0.0.1:${state.primary.port}; replicas ${state.replicas.map((replica) => `127.0.0.1:${replica.port}`).join(", ") || "none"}; ${sandbox.poolerNote}`,
    `status page: ${page}`,
    `logins and passwords: ${state.directory}/sandbox.json`,
    "from another terminal: pgkeep health; pgkeep routing show; pgkeep sandbox fault crash-replica; Ctrl-C ends it here",
  ];
}

async function picture(
  cli: Cli,
  sandbox: RunningSandbox,
  page: string,
  results: ReadonlyMap<string, JobResult>,
  next: readonly { job: string; at: Date }[],
): Promise<string> {
  const now = Date.now();
  const ago = (at: string) => `${durationText(Math.round((now - Date.parse(at)) / 1000))} ago`;
  const document = await sandbox.environment.ports.routing?.read();
  const servers = (document?.replicas ?? []).map((replica) => [
    replica.name,
    `127.0.0.1:${replica.endpoint.port}`,
    replica.state,
    replica.lagBytes === null ? "lag unknown" : `${replica.lagBytes} bytes behind`,
    replica.reason,
  ]);
  const jobRows = next.map(({ job, at }) => {
    const result = results.get(job);
    return [
      job,
      result === undefined ? "has not run yet" : `${result.outcome} ${ago(result.startedAt)}`,
      `next in ${durationText(Math.max(0, Math.round((at.getTime() - now) / 1000)))}`,
      result?.reason ?? "",
    ];
  });
  const { reads, writes, reports, errors } = sandbox.workload();
  return [
    ...whereItIs(sandbox, page),
    "",
    cli.table(["server", "reads go to", "state", "lag", "why"], servers),
    "",
    cli.table(["job", "last run", "schedule", ""], jobRows),
    "",
    ...alarmLines(cli, sandbox.alarms(), ago),
    `workload: ${writes} writes, ${reads} reads, ${reports} reports, ${errors} errors`,
    ...(sandbox.activeFaults().length > 0 ? [`faults: ${sandbox.activeFaults().join(", ")}`] : []),
  ].join("\n");
}

/** The alarms that are on, also those that tell nobody; a line when none is. */
export function alarmLines(
  cli: Pick<Cli, "table">,
  alarms: readonly AlarmView[],
  ago: (at: string) => string,
): string[] {
  if (alarms.length === 0) return [];
  const on = alarms.filter(({ state }) => state === "ALARM");
  if (on.length === 0) return [`alarms: none of ${alarms.length} is on`];
  const rows = on.map(({ alarm, since, reason, suppressedBy }) => [
    `${alarm.severity} ${alarm.name}`,
    since === undefined ? "" : `since ${ago(since.toISOString())}`,
    reason,
    suppressedBy === undefined ? "" : silence(suppressedBy.by, suppressedBy.causes),
  ]);
  return [cli.table([countText(on.length, "alarm"), "", "measured", "silent"], rows), ""];
}

function silence(by: "alarm" | "wait-period" | "extension-period", causes: readonly string[]): string {
  if (by === "alarm") return `because of ${causes.join(", ")}`;
  return by === "wait-period" ? "waits for its cause" : "may recover after its cause";
}
