import type { Command } from "commander";
import type { Environment } from "../environment.ts";
import { UsageError } from "../errors.ts";
import { requestStatus } from "../sandbox/control.ts";
import type { SandboxState } from "../sandbox/state.ts";
import { findSandbox } from "../sandbox/state-file.ts";
import { type StatusSources, statusCollector } from "../status/collect.ts";
import { Absence } from "../status/part.ts";
import { type StatusServer, serveStatus } from "../status/serve.ts";
import { describeStatus } from "../status/text.ts";
import type { Cli, GlobalOptions, Register } from "./cli.ts";
import { onOption, wholeNumber } from "./options.ts";

interface StatusOptions extends GlobalOptions {
  serve?: boolean;
  port?: number;
  host?: string;
}

/** `pgkeep status`: all that pgkeep knows of a database now, once or as a page that renews itself. Reads only. */
export const registerStatus: Register = (program, cli) => {
  program
    .command("status")
    .summary("everything on one page: health, alarms, routing, backups, jobs, queries, sizes")
    .description(
      "How the database is now in everything that pgkeep knows: health, alarms, routing, backups and the last drill, jobs,\n" +
        "top queries and sizes. With --serve as a page that renews itself, until Ctrl-C. Reads only.\n" +
        "Exits with 3 when health could not be asked.",
    )
    .option("--serve", "serve it as a page by HTTP, on this machine alone unless --host says otherwise")
    .option("--port <number>", "with --serve: which port (default: a free one)", wholeNumber(0, 65_535))
    .option(
      "--host <address>",
      "with --serve: listen there; elsewhere than on 127.0.0.1 only who has the printed token is let in",
    )
    .addOption(onOption())
    .action(async (_: unknown, command: Command) => {
      const options = command.optsWithGlobals() as StatusOptions;
      requireServe(options);
      const environment = await cli.open(options);
      try {
        const sources = await statusSources(cli, options, environment);
        if (options.serve === true) await serve(cli, options, sources);
        else await print(cli, options, sources);
      } finally {
        await environment.close();
      }
    });
};

/** @throws UsageError for options that go with others */
function requireServe({ serve, port, host, json }: StatusOptions): void {
  if (host?.trim() === "")
    throw new UsageError("--host is empty", { remedy: "name an address, or leave it away" });
  if (serve === true) {
    if (json !== true) return;
    throw new UsageError("--serve goes on until it is stopped, and --json is one document", {
      remedy: "ask the served page for status.json",
    });
  }
  for (const [name, value] of Object.entries({ port, host })) {
    if (value !== undefined) throw new UsageError(`--${name} goes with --serve`);
  }
}

async function print(cli: Cli, options: StatusOptions, sources: StatusSources): Promise<void> {
  const status = await statusCollector(sources, { signal: cli.signal }).current();
  if (options.json === true) cli.json(status);
  else cli.out(describeStatus(status, cli.table).join("\n"));
  if (status.parts.health.state === "unknown") cli.setExitCode(3);
}

async function serve(cli: Cli, options: StatusOptions, sources: StatusSources): Promise<void> {
  const server = await serveStatus({
    collector: statusCollector(sources, { signal: cli.signal }),
    ...(options.port === undefined ? {} : { port: options.port }),
    ...(options.host === undefined ? {} : { host: options.host }),
  });
  try {
    cli.out(`status of ${sources.environment.description}: ${server.url}`);
    if (server.guarded) cli.note(unencrypted);
    cli.note("Ctrl-C ends it");
    await new Promise<void>((resolve) => {
      if (cli.signal.aborted) resolve();
      else cli.signal.addEventListener("abort", () => resolve(), { once: true });
    });
  } finally {
    await server.close();
  }
}

const unencrypted =
  "The token in this address lets anybody read the page, and nothing is encrypted on the way: in a network that is not\n" +
  "yours, forward a port of 127.0.0.1 by ssh instead.";

/** The page of a sandbox in its own process, on a free port of this machine. */
export function serveSandboxStatus(
  environment: Environment,
  state: SandboxState,
  options: { signal: AbortSignal; port?: number },
): Promise<StatusServer> {
  return serveStatus({
    collector: statusCollector(sourcesOfSandbox(environment, state), { signal: options.signal }),
    ...(options.port === undefined ? {} : { port: options.port }),
  });
}

/** Of a running sandbox: everything, its alarms by its control socket. */
export function sourcesOfSandbox(environment: Environment, state: SandboxState): StatusSources {
  return {
    environment,
    sandbox: (signal) => requestStatus(state, { signal, timeoutMilliseconds: 5_000 }),
    noAlarms: new Absence(
      "the sandbox evaluates none yet: it begins when every job has run once, unless alarms.enabled is off",
    ),
    ...nothingMissing,
    scheduled: true,
    remote: false,
  };
}

/** Of environments that have them all; they say why should one lack one after all. */
const nothingMissing = {
  noDatabase: new Absence("there is no database to ask"),
  noBackups: new Absence("there are no physical backups that pgkeep knows"),
  noRouting: new Absence("there is no routing document"),
};

async function statusSources(
  cli: Cli,
  options: StatusOptions,
  environment: Environment,
): Promise<StatusSources> {
  if (options.on === "aws") return sourcesOfAws(environment);
  const state = await sandboxOf(cli, options, environment);
  return state === undefined ? sourcesOfUrl(environment) : sourcesOfSandbox(environment, state);
}

/** The running sandbox, when the environment is it. */
async function sandboxOf(
  cli: Cli,
  options: StatusOptions,
  environment: Environment,
): Promise<SandboxState | undefined> {
  if (options.url !== undefined || environment.ports.backups === undefined) return undefined;
  const state = await findSandbox(cli.homeDirectory);
  return state?.primary.port === environment.ports.primary?.endpoint.port ? state : undefined;
}

/** What can be said of any PostgreSQL: no alarms, no backups, no routing, and why. */
export function sourcesOfUrl(environment: Environment): StatusSources {
  return {
    environment: { ...environment, ports: withoutRouting(environment.ports) },
    noAlarms: new Absence(
      "alarms are evaluated by a running sandbox, or by CloudWatch where pgkeep is deployed",
    ),
    noDatabase: nothingMissing.noDatabase,
    noBackups: new Absence(
      `${environment.description} has no physical backups that pgkeep knows`,
      "leave --url away to look at the running sandbox, or give --on aws",
    ),
    noRouting: new Absence(
      "a routing document is kept in a sandbox and on AWS only",
      "leave --url away to look at the running sandbox, or give --on aws",
    ),
    scheduled: false,
    remote: false,
  };
}

/** The one of a URL lives as long as a run: here there never is one. */
function withoutRouting({ routing: _, ...ports }: Environment["ports"]): Environment["ports"] {
  return ports;
}

function sourcesOfAws(environment: Environment): StatusSources {
  return {
    environment,
    noAlarms: new Absence(
      `CloudWatch evaluates them: see the dashboard pgkeep-${environment.config.key}`,
      "`aws cloudwatch describe-alarms --state-value ALARM` lists those that are on",
    ),
    noDatabase: new Absence(
      "the database is in a network of its own, which nobody reaches from here",
      "`pgkeep run check-health --on aws` asks it there",
    ),
    noBackups: nothingMissing.noBackups,
    noRouting: nothingMissing.noRouting,
    scheduled: true,
    remote: true,
  };
}
