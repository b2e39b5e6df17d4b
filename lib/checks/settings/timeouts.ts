import { identifier } from "../../postgres/identifiers.ts";
import { concludeReview, type ReviewCheck, type ReviewFinding } from "../review-check.ts";
import { readSettings, settingFinding } from "./server-settings.ts";

interface LoginRole {
  role: string;
  /** `name=value` of the role, of the role in this database, and of the database, in the order in which they count. */
  settings: string[];
  sessions: number;
}

/** Only sessions of a login that has connected at all are worth a line. */
const shownRoles = 50;

/**
 * Limits without which one forgotten session or statement stops the others. PostgreSQL's documentation advises
 * against a statement timeout for the whole server, so each application's login is asked for its own.
 */
export const timeouts: ReviewCheck = {
  name: "timeouts",
  title: "Does a forgotten session or statement end by itself?",
  area: "settings",
  async run(context) {
    const settings = await readSettings(context);
    const findings: ReviewFinding[] = [];
    if (settings.number("idle_in_transaction_session_timeout") === 0) {
      findings.push(
        settingFinding("timeouts", settings, {
          name: "idle_in_transaction_session_timeout",
          wanted: "5min",
          severity: "medium",
          confidence: "certain",
          title: "a session that forgets its transaction keeps its locks for ever",
          impact:
            "Its locks block schema changes and writers, and vacuum can remove nothing that it might still see",
          rootCause: "0 is PostgreSQL's default",
          prevention: "set it for the server, and longer for the few logins that need it",
        }),
      );
    }
    const roles = await context.session.query<LoginRole>(
      `select r.rolname::text as role, count(distinct a.pid)::int as sessions,
              coalesce(array_agg(distinct s.setting) filter (where s.setting is not null), '{}') as settings
         from pg_roles r
         left join pg_stat_activity a on a.usesysid = r.oid and a.datname = current_database()
         left join lateral (select unnest(d.setconfig) as setting from pg_db_role_setting d
                             where (d.setrole = r.oid or d.setrole = 0)
                               and d.setdatabase in (0, (select oid from pg_database where datname = current_database()))) s on true
        where r.rolcanlogin and not r.rolsuper and not r.rolreplication and r.rolname !~ '^(pg_|rds)'
          and has_database_privilege(r.oid, current_database(), 'CONNECT')
        group by r.rolname order by sessions desc, r.rolname limit $1`,
      [shownRoles],
    );
    const without = roles.filter(
      ({ settings: own, sessions }) =>
        sessions > 0 && !own.some((one) => /^statement_timeout=(?!0\w*$)/.test(one)),
    );
    // The value for the server hides behind the review's own; only a superuser or the file would tell.
    const globalTimeout = await readServerWide(context.session, "statement_timeout");
    if (globalTimeout === "0") {
      for (const { role, sessions } of without) findings.push(roleFinding(role, sessions));
    }
    return concludeReview({
      findings,
      facts: {
        loginsWithoutStatementTimeout: without.map(({ role }) => role),
        statementTimeout: globalTimeout ?? null,
      },
      good: ["Forgotten transactions end by themselves, and statements of applications have a limit."],
      obstacle:
        globalTimeout === undefined && without.length > 0
          ? "the server's own statement_timeout cannot be seen from a session that has another one; a superuser sees it in pg_file_settings"
          : undefined,
    });
  },
};

/** From the configuration files; undefined where this role may not read them. The default is 0. */
async function readServerWide(
  session: Parameters<ReviewCheck["run"]>[0]["session"],
  name: string,
): Promise<string | undefined> {
  const [may] = await session.query<{ may: boolean }>(
    "select has_function_privilege('pg_show_all_file_settings()', 'execute') as may",
  );
  if (may?.may !== true) return undefined;
  const [row] = await session.query<{ setting: string }>(
    "select setting from pg_file_settings where name = $1 and applied order by seqno desc limit 1",
    [name],
  );
  return row === undefined || /^0\D*$/.test(row.setting) ? "0" : row.setting;
}

function roleFinding(role: string, sessions: number): ReviewFinding {
  return {
    check: "timeouts",
    key: `timeouts/statement_timeout of ${role}`,
    severity: "low",
    confidence: "likely",
    object: { role },
    title: `statements of ${role} may run for ever`,
    evidence: { sessionsNow: sessions, statementTimeout: "0" },
    impact: "One bad plan or a missing index takes a connection and a core until somebody ends it",
    blastRadius: `the statements of ${role}`,
    rootCause: "0 is PostgreSQL's default, and the login has no limit of its own",
    prevention:
      "give each application its own login with a statement_timeout a little above its slowest request",
    effort: "minutes",
    remediation: {
      sql: `ALTER ROLE ${identifier(role)} SET statement_timeout = '60s'; -- for new sessions`,
      lock: "none",
      rollback: `ALTER ROLE ${identifier(role)} RESET statement_timeout;`,
    },
    fix: {
      up: [`ALTER ROLE ${identifier(role)} SET statement_timeout = '60s';`],
      down: [`ALTER ROLE ${identifier(role)} RESET statement_timeout;`],
      proof: ["no statement_timeout is set for the server, this database or this login"],
    },
  };
}
