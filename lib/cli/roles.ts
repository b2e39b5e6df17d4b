import type { Command } from "commander";
import type { Environment } from "../environment.ts";
import { auditRoles, type RolesAudit } from "../install/audit.ts";
import type { GlobalOptions, Register } from "./cli.ts";
import { count, install, printPlan, printReport, readPlan } from "./install.ts";

export const registerRoles: Register = (program, cli) => {
  const roles = program.command("roles").description("Roles and rights of a database: plan, apply, audit");
  const action = (body: (environment: Environment, options: GlobalOptions) => Promise<void>) => {
    return async (_options: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      const environment = await cli.open(options);
      try {
        await body(environment, options);
      } finally {
        await environment.close();
      }
    };
  };
  roles
    .command("plan")
    .description("Show the statements that would bring roles and rights in line, and run none")
    .action(
      action(async (environment, options) =>
        printPlan(cli, options, await readPlan(environment, cli.signal)),
      ),
    );
  roles
    .command("apply")
    .description("Bring roles and rights in line with the configuration, as `pgkeep install` does")
    .action(
      action(async (environment, options) =>
        printReport(cli, options, await install(environment, cli.signal)),
      ),
    );
  roles
    .command("audit")
    .description("List what differs from the configuration; exit code 1 when something does")
    .action(
      action(async (environment, options) => {
        const audit = await readAudit(environment, cli.signal);
        if (options.json === true) cli.json(audit);
        else cli.out(auditText(audit));
        if (audit.findings.length > 0) cli.setExitCode(1);
      }),
    );
};

export async function readAudit(environment: Environment, signal?: AbortSignal): Promise<RolesAudit> {
  const session = await environment.connectAsMaster({ ...(signal === undefined ? {} : { signal }) });
  try {
    return await auditRoles(session, environment.config);
  } finally {
    await session.close();
  }
}

export function auditText(audit: RolesAudit): string {
  if (audit.findings.length === 0)
    return `database ${audit.database}: roles and rights are as the configuration says`;
  const repairable = audit.findings.filter((finding) => finding.repairable).length;
  return [
    `database ${audit.database}: ${count(audit.findings.length, "difference")}, ${repairable} of them repaired by \`pgkeep roles apply\``,
    ...audit.findings.map(({ reason, sql, needs }) =>
      [
        `  ${reason}${needs === undefined ? "" : ` (needs ${needs})`}`,
        (sql.includes("\n") ? `${sql.split("\n")[0]} …` : `${sql};`).replace(/^/, "    "),
      ].join("\n"),
    ),
  ].join("\n");
}
