import { concludeReview, type ReviewCheck, type ReviewFinding } from "../review-check.ts";

interface Rule {
  line: number;
  type: string;
  databases: string[];
  roles: string[];
  address: string | null;
  method: string;
  error: string | null;
}

/** Rules of pg_hba.conf that let somebody in without a proof, or with one that can be read on the way. */
export const clientAuthentication: ReviewCheck = {
  name: "client-authentication",
  title: "Who gets in without a proof?",
  area: "security",
  async run({ session }) {
    const [may] = await session.query<{ may: boolean }>(
      "select has_function_privilege('pg_hba_file_rules()', 'execute') and has_table_privilege('pg_hba_file_rules', 'select') as may",
    );
    if (may?.may !== true) {
      return concludeReview({
        obstacle:
          "only a superuser may read pg_hba.conf (a hosting service keeps it); GRANT SELECT ON pg_hba_file_rules and EXECUTE ON FUNCTION pg_hba_file_rules() to look at it",
      });
    }
    const rules = await session.query<Rule>(
      `select line_number as line, coalesce(type, '') as type, coalesce(database, '{}') as databases,
              coalesce(user_name, '{}') as roles,
              nullif(concat_ws('/', address, netmask), '') as address, coalesce(auth_method, '') as method, error
         from pg_hba_file_rules order by line_number`,
    );
    return concludeReview({
      findings: rules.flatMap(judge),
      facts: { rules: rules.length },
      good: ["Nobody gets in without a proof, and no password crosses the network in the clear."],
    });
  },
};

function judge(rule: Rule): ReviewFinding[] {
  const { line, type, databases, roles, address, method, error } = rule;
  if (error !== null) {
    return [
      finding(rule, {
        severity: "high",
        title: `line ${line} of pg_hba.conf cannot be read: ${error}`,
        impact: "The next reload keeps the old rules, and the next start of the server fails",
        wanted: "correct it",
      }),
    ];
  }
  const local = type === "local" || /^(127\.|::1|localhost|samehost)/.test(address ?? "");
  const who = `${roles.join(", ")} into ${databases.join(", ")}${address === null ? "" : ` from ${address}`}`;
  if (method === "trust") {
    return [
      finding(rule, {
        severity: local ? "medium" : "critical",
        title: `line ${line} of pg_hba.conf lets ${who} without a proof`,
        impact: local
          ? "Every account and program of the machine logs in as any role that the rule names"
          : "Whoever reaches the server logs in as any role that the rule names",
        wanted: "scram-sha-256",
      }),
    ];
  }
  if (method === "password" && type !== "hostssl" && !local) {
    return [
      finding(rule, {
        severity: "high",
        title: `line ${line} of pg_hba.conf asks ${who} for the password in the clear`,
        impact: "Whoever is on the way reads the password",
        wanted: "scram-sha-256, over hostssl",
      }),
    ];
  }
  return [];
}

function finding(
  { line, type, databases, roles, address, method }: Rule,
  said: { severity: ReviewFinding["severity"]; title: string; impact: string; wanted: string },
): ReviewFinding {
  return {
    check: "client-authentication",
    key: `client-authentication/${type === "" ? `line ${line}` : [type, databases.join(","), roles.join(","), address, method].join(" ")}`,
    severity: said.severity,
    confidence: "certain",
    object: { name: `pg_hba.conf line ${line}` },
    title: said.title,
    evidence: { line, type, address, method },
    impact: said.impact,
    blastRadius:
      databases.length === 0
        ? "every change of these rules"
        : `the databases ${databases.join(", ")} for the roles ${roles.join(", ")}`,
    rootCause: "written to get in while setting up",
    prevention: "keep pg_hba.conf in version control, and look at pg_hba_file_rules after each change",
    effort: "hours",
    remediation: {
      sql: `-- In line ${line} of pg_hba.conf: ${said.wanted}; then SELECT pg_reload_conf();`,
      lock: "none; open connections stay",
      rollback: "the former line, and a reload",
    },
  };
}
