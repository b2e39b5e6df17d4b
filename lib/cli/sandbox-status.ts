import { createLogUpdate } from "log-update";
import type { JobResult } from "../jobs/job.ts";
import type { RunningSandbox } from "../sandbox/sandbox.ts";
import { durationText } from "../words.ts";
import type { Cli } from "./cli.ts";

export interface StatusView {
  jobEnded(result: JobResult, line: string): void;
  setSchedule(next: () => { job: string; at: Date }[]): void;
  end(): void;
}

/** A picture that renews itself each second on a terminal; a line for each event elsewhere. */
export function showStatus(cli: Cli, sandbox: RunningSandbox): StatusView {
  if (!cli.isTerminal) return plainView(cli, sandbox);
  const update = createLogUpdate(process.stdout);
  const results = new Map<string, JobResult>();
  let next: () => { job: string; at: Date }[] = () => [];
  const draw = async () => update(await picture(cli, sandbox, results, next()));
  const timer = setInterval(() => void draw(), 1_000);
  void draw();
  return {
    jobEnded: (result) => void results.set(result.job, result),
    setSchedule: (schedule) => {
      next = schedule;
    },
    end: () => {
      clearInterval(timer);
      update.done();
    },
  };
}

function plainView(cli: Cli, sandbox: RunningSandbox): StatusView {
  for (const line of whereItIs(sandbox)) cli.out(line);
  return {
    jobEnded: (_, line) => cli.out(`${new Date().toISOString()} ${line}`),
    setSchedule: () => {},
    end: () => {},
  };
}

function whereItIs(sandbox: RunningSandbox): string[] {
  const { state } = sandbox;
  return [
    `ready in ${sandbox.readySeconds} s: PostgreSQL ${state.postgresMajor}, database ${JSON.stringify(state.database)}`,
    `primary 127.0.0.1:${state.primary.port}; replicas ${state.replicas.map((replica) => `127.0.0.1:${replica.port}`).join(", ") || "none"}; ${sandbox.poolerNote}`,
    `logins and passwords: ${state.directory}/sandbox.json`,
    "from another terminal: pgkeep health; pgkeep routing show; pgkeep sandbox fault crash-replica; Ctrl-C ends it here",
  ];
}

async function picture(
  cli: Cli,
  sandbox: RunningSandbox,
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
    ...whereItIs(sandbox),
    "",
    cli.table(["server", "reads go to", "state", "lag", "why"], servers),
    "",
    cli.table(["job", "last run", "schedule", ""], jobRows),
    "",
    `workload: ${writes} writes, ${reads} reads, ${reports} reports, ${errors} errors`,
    ...(sandbox.activeFaults().length > 0 ? [`faults: ${sandbox.activeFaults().join(", ")}`] : []),
  ].join("\n");
}
