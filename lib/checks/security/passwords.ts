import { identifier } from "../../postgres/identifiers.ts";
import { concludeReview, type ReviewCheck, type ReviewFinding } from "../review-check.ts";
import { readSettings, settingFinding } from "../settings/server-settings.ts";

/** How passwords are kept. Who has which can only a superuser see; how new ones are kept, everybody. */
export const passwords: ReviewCheck = {
  name: "passwords",
  title: "Are passwords kept so that a copy of them is worth little?",
  area: "security",
  async run(context) {
    const { session } = context;
    const settings = await readSettings(context);
    const findings: ReviewFinding[] = [];
    if (settings.text("password_encryption") === "md5") {
      findings.push(
        settingFinding("passwords", settings, {
          name: "password_encryption",
          wanted: "scram-sha-256",
          severity: "medium",
          confidence: "certain",
          title: "new passwords are kept as MD5",
          impact: "A stolen copy of pg_authid, as any backup has, is enough to log in",
          rootCause: "the default of versions before 14, carried along; 18 deprecates it",
          prevention: "set it before the next password is set, and have each login set its own again",
        }),
      );
    }
    const [may] = await session.query<{ may: boolean }>(
      "select has_column_privilege('pg_authid', 'rolpassword', 'SELECT') as may",
    );
    if (may?.may === true) {
      const rows = await session.query<{ role: string }>(
        `select rolname::text as role
           from pg_authid where rolcanlogin and rolpassword like 'md5%' order by 1`,
      );
      for (const { role } of rows) findings.push(md5Finding(role));
    }
    return concludeReview({
      findings,
      facts: { passwordEncryption: settings.text("password_encryption") ?? null },
      good: ["Passwords are kept as SCRAM."],
      obstacle:
        may?.may === true
          ? undefined
          : "which logins still have an MD5 password only a superuser can see; PostgreSQL keeps no age of passwords",
    });
  },
};

function md5Finding(role: string): ReviewFinding {
  return {
    check: "passwords",
    key: `passwords/md5 of ${role}`,
    severity: "medium",
    confidence: "certain",
    object: { role },
    title: `the password of ${role} is kept as MD5`,
    evidence: { kind: "md5" },
    impact:
      "A stolen copy of pg_authid, as any backup has, is enough to log in as it, and version 18 deprecates it",
    blastRadius: `all that ${role} may do`,
    rootCause: "it was set while password_encryption was md5",
    prevention: "set password_encryption to scram-sha-256 first",
    effort: "hours",
    remediation: {
      sql: `-- With a new password that the client gets too, from psql so that it is not logged: \\password ${identifier(role)}`,
      lock: "none",
      rollback: "the former password again",
    },
  };
}
