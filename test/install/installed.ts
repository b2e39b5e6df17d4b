import type { DatabaseConfig } from "../../lib/config/schema.ts";
import { applyInstall, type InstallOptions, type InstallReport } from "../../lib/install/apply.ts";
import { type RoleNames, roleNames } from "../../lib/install/role-names.ts";
import type { Session } from "../../lib/ports/databases.ts";
import { configFor } from "../helpers/config.ts";
import type { TestLogin, TestServer } from "../helpers/postgres.ts";

export const password = "correct horse";

export interface Installed {
  database: string;
  config: DatabaseConfig;
  names: RoleNames;
  master: TestLogin;
  report: InstallReport;
  /** Runs `body` with a session of that role (or as superuser without one), and closes it. */
  as<T>(role: string | undefined, body: (session: Session) => Promise<T>): Promise<T>;
  asMaster<T>(body: (session: Session) => Promise<T>): Promise<T>;
  apply(options?: InstallOptions): Promise<InstallReport>;
}

/** A new database with everything that pgkeep installs, every login with `password`. */
export async function installed(
  server: TestServer,
  options: { database?: string; sections?: Record<string, unknown> } = {},
): Promise<Installed> {
  const database = await server.createDatabase(options.database);
  const master = await server.createMaster(database);
  const config = configFor(database, options.sections);
  const names = roleNames(config);
  const withLogin = async <T>(login: TestLogin | undefined, body: (session: Session) => Promise<T>) => {
    const session = await server.connect(database, login);
    try {
      return await body(session);
    } finally {
      await session.close();
    }
  };
  const asMaster = <T>(body: (session: Session) => Promise<T>) => withLogin(master, body);
  const apply = (more: InstallOptions = {}) => asMaster((session) => applyInstall(session, config, more));
  const { app, reporting, migrations, monitoring, maintenance, drill } = names;
  const report = await apply({
    passwords: Object.fromEntries(
      [app, reporting, migrations, monitoring, maintenance, drill].map((role) => [role, password]),
    ),
  });
  return {
    database,
    config,
    names,
    master,
    report,
    asMaster,
    apply,
    as: (role, body) => withLogin(role === undefined ? undefined : { user: role, password }, body),
  };
}
