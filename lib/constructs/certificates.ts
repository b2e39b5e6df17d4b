import { Token } from "aws-cdk-lib";
import { regionsWithCertificates } from "../aws/certificate-regions.ts";
import { UsageError } from "../errors.ts";

/**
 * Refuses a region whose servers no function could verify. A region that is not known before the deployment is
 * let through: there functions say that the certificate is signed by nobody they know.
 * @throws UsageError (`configuration`) with path, reason and remedy
 */
export function assertCertificates(region: string): void {
  if (Token.isUnresolved(region)) return;
  const known = regionsWithCertificates();
  if (known.includes(region)) return;
  throw new UsageError(
    `account.region: the certificate authorities of RDS in ${region} do not ship with this version, so no job could log in`,
    {
      remedy: `add those of https://truststore.pki.rds.amazonaws.com/ for ${region} to certificates/rds-global-bundle.pem, or use one of: ${known.join(", ")}`,
    },
    "configuration",
  );
}
