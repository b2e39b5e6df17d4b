import type { Command } from "commander";
import type { Environment } from "../environment.ts";
import { applyInstall, type InstallReport } from "../install/apply.ts";
import { type InstallPlan, planInstall } from "../install/plan.ts";
import type { Cli, GlobalOptions, Register } from "./cli.ts";

/** Statements of an installation may wait for locks and build indexes: longer than a check, not for ever. */
const statementTimeoutMilliseconds = 120_000;

export const registerInstall: Register = (program, cli) => {
  program
    .command("install")
    .description("Install schema pgkeep and the roles in a database, and repair what was changed by hand")
    .option("--dry-run", "show every statement and change nothing")
    .action(async (_options: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions & { dryRun?: boolean }>();
      const environment = await cli.open(options);
      try {
        if (options.dryRun === true) printPlan(cli, options, await readPlan(environment, cli.signal));
        else printReport(cli, options, await install(environment, cli.signal));
      } finally {
        await environment.close();
      }
    });
};

/** What `install` would do. */
export async function readPlan(environment: Environment, signal?: AbortSignal): Promise<InstallPlan> {
  const session = await environment.connectAsMaster({ ...(signal === undefined ? {} : { signal }) });
  try {
    return await planInstall(session, environment.config);
  } finally {
    await session.close();
  }
}

/** Does it. */
export async function install(environment: Environment, signal?: AbortSignal): Promise<InstallReport> {
  const session = await environment.connectAsMaster({
    statementTimeoutMilliseconds,
    ...(signal === undefined ? {} : { signal }),
  });
  try {
    return await applyInstall(session, environment.config, signal === undefined ? {} : { signal });
  } finally {
    await session.close();
  }
}

export function printPlan(cli: Cli, options: GlobalOptions, plan: InstallPlan): void {
  if (options.json === true) cli.json(plan);
  else cli.out(planText(plan));
}

export function printReport(cli: Cli, options: GlobalOptions, report: InstallReport): void {
  if (options.json === true) cli.json(report);
  else cli.out(reportText(report));
  // Tried and still wrong: what was asked for could not be done.
  if (report.unresolved.length > 0) cli.setExitCode(3);
}

/** SQL that a person can read and run: each statement below the reason for it. */
export function planText(plan: InstallPlan): string {
  const statement = ({ reason, sql }: { reason: string; sql: string }) => `${comment(reason)}\n${sql};`;
  const lines = [
    comment(`database ${plan.database}, as ${plan.user}: ${count(plan.changes.length, "change")}`),
    ...plan.changes.map(statement),
  ];
  lines.push(...plan.warnings.map((warning) => comment(`mind: ${warning}`)));
  if (plan.blocked.length > 0) {
    lines.push(
      comment(`${plan.user} may not do the following:`),
      ...plan.blocked.map(
        ({ reason, sql, needs }) => `${comment(`${reason}; needs ${needs}`)}\n${comment(`${sql};`)}`,
      ),
    );
  }
  return lines.join("\n\n");
}

export function reportText(report: InstallReport): string {
  const lines = [
    `database ${report.database}: ${report.outcome} (schema pgkeep version ${report.schemaVersion}, ${report.seconds.toFixed(1)} s)`,
  ];
  const section = (title: string, items: readonly string[]) => {
    if (items.length > 0) lines.push(`${title}:`, ...items.map((item) => `  ${item}`));
  };
  section("created", report.created);
  section("repaired", report.repaired);
  section("passwords set", report.passwordsSet);
  section("mind", report.warnings);
  section("tried, and still not right", report.unresolved.map(withStatement));
  section(
    "left to do by somebody else",
    report.blocked.map((change) => `${change.reason}; needs ${change.needs}\n${indented(change.sql)}`),
  );
  return lines.join("\n");
}

const withStatement = ({ reason, sql }: { reason: string; sql: string }) => `${reason}\n${indented(sql)}`;
const indented = (sql: string) => `${sql};`.replace(/^/gm, "    ");
const comment = (text: string) => text.replace(/^/gm, "-- ");
export const count = (number: number, noun: string) => `${number} ${noun}${number === 1 ? "" : "s"}`;
