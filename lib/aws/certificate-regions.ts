import { X509Certificate } from "node:crypto";
import { rdsCertificates } from "./rds-certificates.ts";

let regions: readonly string[] | undefined;

/** The regions whose certificate authorities ship with pgkeep: their names are in the subjects of the roots. */
export function regionsWithCertificates(): readonly string[] {
  regions ??= readRegions();
  return regions;
}

function readRegions(): string[] {
  const found = new Set<string>();
  for (const pem of rdsCertificates().match(
    /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g,
  ) ?? []) {
    const region = /CN=Amazon RDS (\S+) Root CA/.exec(new X509Certificate(pem).subject)?.[1];
    if (region !== undefined) found.add(region);
  }
  return [...found].sort();
}
