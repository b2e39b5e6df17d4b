import { identifier } from "../../postgres/identifiers.ts";
import { concludeReview, type ReviewCheck, type ReviewFinding } from "../review-check.ts";

interface Role {
  role: string;
  superuser: boolean;
  createRole: boolean;
  createDatabase: boolean;
  replication: boolean;
  bypassRowSecurity: boolean;
  sessions: number;
  programs: string[];
  /** The role that initdb made (its oid is fixed), or one that a hosting service made for itself. */
  builtIn: boolean;
  /** Made of others by a service: its administrators have to have these. */
  administrator: boolean;
}

/** Predefined roles that reach beyond the database, to files and programs of the server (PostgreSQL, "Predefined Roles"). */
const beyondTheDatabase = ["pg_execute_server_program", "pg_write_server_files", "pg_read_server_files"];
/** Logins that services keep for themselves, and the roles of their administrators. */
const services = [
  "rdsadmin",
  "azuresu",
  "cloudsqladmin",
  "supabase_admin",
  "rdsrepladmin",
  "rdstopmgr",
  "cloudsqlagent",
];
const administrators = ["rds_superuser", "azure_pg_admin", "cloudsqlsuperuser", "supabase_admin"];

/** Logins that can do more than any application needs. */
export const rolesWithTooMuch: ReviewCheck = {
  name: "roles-with-too-much",
  title: "Which logins may do more than an application needs?",
  area: "security",
  async run({ session }) {
    const roles = await session.query<Role>(
      `select r.rolname::text as role, r.rolsuper as superuser, r.rolcreaterole as "createRole",
              r.rolcreatedb as "createDatabase", r.rolreplication as replication, r.rolbypassrls as "bypassRowSecurity",
              (select count(*)::int from pg_stat_activity a where a.usesysid = r.oid and a.pid <> pg_backend_pid()) as sessions,
              coalesce((select array_agg(p.rolname::text order by p.rolname) from pg_roles p
                         where p.rolname = any ($1) and not r.rolsuper and pg_has_role(r.oid, p.oid, 'member')), '{}') as programs,
              r.oid = 10 or r.rolname = any ($2) as "builtIn",
              exists (select from pg_roles a where a.rolname = any ($3) and pg_has_role(r.oid, a.oid, 'member')) as administrator
         from pg_roles r where r.rolcanlogin order by r.rolname`,
      [beyondTheDatabase, services, administrators],
    );
    const findings = roles.filter(({ builtIn }) => !builtIn).flatMap((role) => judge(role));
    return concludeReview({
      findings,
      facts: { logins: roles.length, superusers: roles.filter(({ superuser }) => superuser).length },
      good: ["No login but the server's own can do more than work with its data."],
    });
  },
};

function judge(role: Role): ReviewFinding[] {
  const { superuser, createRole, createDatabase, replication, bypassRowSecurity, programs, administrator } =
    role;
  if (superuser) {
    return [
      finding(role, {
        powers: ["SUPERUSER"],
        severity: "high",
        impact:
          "Whoever gets hold of this login, or injects SQL into what it runs, reads and changes everything, and runs programs on the server",
        take: `ALTER ROLE ${identifier(role.role)} NOSUPERUSER;`,
        giveBack: `ALTER ROLE ${identifier(role.role)} SUPERUSER;`,
      }),
    ];
  }
  if (programs.length > 0) {
    return [
      finding(role, {
        powers: programs,
        severity: "high",
        impact:
          "It reads or writes files of the server, or runs programs there: that is as much as a superuser",
        take: `REVOKE ${programs.map(identifier).join(", ")} FROM ${identifier(role.role)};`,
        giveBack: `GRANT ${programs.map(identifier).join(", ")} TO ${identifier(role.role)};`,
      }),
    ];
  }
  if (administrator) return [];
  // A login that only replicates, or that only makes roles and databases, is what it was made for.
  const powers = [
    ...(bypassRowSecurity ? ["BYPASSRLS"] : []),
    ...(createRole ? ["CREATEROLE"] : []),
    ...(createDatabase && createRole ? ["CREATEDB"] : []),
    ...(replication && (createRole || createDatabase || bypassRowSecurity) ? ["REPLICATION"] : []),
  ];
  if (powers.length === 0) return [];
  return [
    finding(role, {
      powers,
      severity: "medium",
      impact: bypassRowSecurity
        ? "Row security does not hold for it, whatever its policies say"
        : "It can make itself new logins, and before version 16 join nearly any role that is no superuser",
      take: `ALTER ROLE ${identifier(role.role)} ${powers.map((power) => `NO${power}`).join(" ")};`,
      giveBack: `ALTER ROLE ${identifier(role.role)} ${powers.join(" ")};`,
    }),
  ];
}

function finding(
  { role, sessions }: Role,
  {
    powers,
    severity,
    impact,
    take,
    giveBack,
  }: {
    powers: string[];
    severity: ReviewFinding["severity"];
    impact: string;
    take: string;
    giveBack: string;
  },
): ReviewFinding {
  return {
    check: "roles-with-too-much",
    key: `roles-with-too-much/${role}`,
    severity,
    confidence: "likely",
    object: { role },
    title: `the login ${role} has ${powers.join(", ")}`,
    evidence: { powers, sessionsNow: sessions },
    impact,
    blastRadius: powers.includes("SUPERUSER")
      ? "every database of this server, and the machine"
      : "every database of this server",
    rootCause: "the login was made with more than it needs, often to get a deployment going",
    prevention:
      "make logins by a description of roles (pgkeep roles apply), and log in as an administrator by hand only",
    effort: "hours",
    remediation: { sql: take, lock: "none", rollback: giveBack },
    fix: {
      up: [take],
      down: [giveBack],
      proof: [`pg_roles shows ${powers.join(", ")}; ${sessions} sessions of it now`],
    },
  };
}
