import { concludeReview, type ReviewCheck, type ReviewFinding } from "../review-check.ts";
import { change, readSettings } from "../settings/server-settings.ts";

interface Plain {
  role: string;
  address: string;
  sessions: number;
}

/** Connections over a network that anybody on the way can read. */
export const unencryptedConnections: ReviewCheck = {
  name: "unencrypted-connections",
  title: "Who talks to the server in the clear?",
  area: "security",
  needs: { memberOf: ["pg_read_all_stats"] },
  async run(context) {
    const settings = await readSettings(context);
    const rows = await context.session.query<Plain>(
      `select a.usename::text as role, host(a.client_addr) as address, count(*)::int as sessions
         from pg_stat_activity a join pg_stat_ssl s on s.pid = a.pid
         left join pg_stat_gssapi g on g.pid = a.pid
        where a.client_addr is not null and not s.ssl and not coalesce(g.encrypted, false)
          and not (a.client_addr <<= inet '127.0.0.0/8' or a.client_addr = inet '::1')
          and a.backend_type in ('client backend', 'walsender')
        group by 1, 2 order by 3 desc, 1, 2`,
    );
    const findings: ReviewFinding[] = [];
    const ssl = settings.text("ssl");
    const listens = settings.text("listen_addresses");
    const outside = listens === undefined || !/^(localhost|127\.\d+\.\d+\.\d+|::1|)$/.test(listens.trim());
    if (ssl === "off" && outside) {
      findings.push({
        check: "unencrypted-connections",
        key: "unencrypted-connections/ssl",
        severity: "high",
        confidence: "certain",
        object: { name: "ssl" },
        title: "the server cannot encrypt connections",
        evidence: { ssl, listenAddresses: listens ?? "unknown" },
        impact: "Whoever is on the way reads and changes statements and rows",
        blastRadius: "every connection that leaves the machine",
        rootCause: "ssl is off by default, because it needs a certificate",
        prevention: "give each server a certificate when it is made",
        effort: "hours",
        remediation: change(settings, "ssl", "on"),
      });
    }
    for (const { role, address, sessions } of rows) {
      findings.push({
        check: "unencrypted-connections",
        key: `unencrypted-connections/${role} from ${address}`,
        severity: "medium",
        confidence: "certain",
        object: { role },
        title: `${role} is connected from ${address} in the clear`,
        evidence: { address, sessions },
        impact: "Whoever is on the way reads and changes its statements and rows",
        blastRadius: `all that ${role} reads and writes from there`,
        rootCause: "the client does not ask for TLS (sslmode), and the server does not insist",
        prevention: "insist on the server: hostssl in pg_hba.conf, or rds.force_ssl = 1",
        effort: "hours",
        remediation: {
          sql: "-- Give the client sslmode=verify-full and the server's CA; then let the server insist (hostssl in pg_hba.conf, rds.force_ssl = 1).",
          lock: "none",
          rollback: "host again in pg_hba.conf",
        },
      });
    }
    return concludeReview({
      findings,
      facts: { ssl: ssl ?? null },
      good: ["Every connection over a network is encrypted now."],
    });
  },
};
