import { readFileSync } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "../package-root.ts";

/** Below the package's root, and below that of a bundled function. */
export const rdsCertificatesFile: string = join("certificates", "rds-global-bundle.pem");

let certificates: string | undefined;

/** The certificate authorities that sign the certificates of RDS, as PEM. They ship with pgkeep: no network is needed. */
export function rdsCertificates(): string {
  certificates ??= readFileSync(join(packageRoot, rdsCertificatesFile), "utf8");
  return certificates;
}
