import { durationText } from "../words.ts";
import type { Check } from "./check.ts";
import { conclude, metric } from "./outcome.ts";

const daySeconds = 86_400;

/** RDS renews a certificate when half of its year is over: with a month left, it has not worked. */
const highSeconds = 30 * daySeconds;
const criticalSeconds = 7 * daySeconds;

/** How long the certificates are still good that the server has shown to this session. */
export const certificate: Check = {
  name: "certificate",
  title: "Does the server's certificate expire soon?",
  async run({ session, now }) {
    const expiresAt = session.certificateExpiresAt;
    if (expiresAt === undefined) return conclude({ facts: { encrypted: false } });
    const left = Math.round((expiresAt.getTime() - now.getTime()) / 1000);
    const when = left < 0 ? `has expired ${durationText(-left)} ago` : `expires in ${durationText(left)}`;
    return conclude({
      facts: { encrypted: true, expiresAt: expiresAt.toISOString(), secondsLeft: left },
      metrics: [metric("CertificateLifeSeconds", Math.max(0, left))],
      findings:
        left >= highSeconds
          ? []
          : [
              {
                check: "certificate",
                key: "certificate",
                severity: left < criticalSeconds ? "critical" : "high",
                confidence: "certain",
                object: { name: session.database },
                title: `the server's certificate, or one that vouches for it, ${when}`,
                evidence: { expiresAt: expiresAt.toISOString(), secondsLeft: left },
                impact: "Clients that verify the server, as they should, cannot connect any more.",
                blastRadius: "every new connection",
                remediation: {
                  sql: "-- put a new certificate in place, then:\nSELECT pg_reload_conf();\n-- on RDS: aws rds modify-db-instance --db-instance-identifier ID --ca-certificate-identifier rds-ca-rsa2048-g1",
                  lock: "none",
                  rollback: "none needed",
                },
              },
            ],
    });
  },
};
