import type { ReviewCheck } from "../review-check.ts";
import { clientAuthentication } from "./client-authentication.ts";
import { unencryptedConnections } from "./connections.ts";
import { passwords } from "./passwords.ts";
import { publicCreate, publicDefaults, publicGrants } from "./public-rights.ts";
import { rolesWithTooMuch } from "./roles-with-too-much.ts";
import { rowSecurity } from "./row-security.ts";
import { securityDefiner } from "./security-definer.ts";
import { untrustedLanguages } from "./untrusted-languages.ts";

export const securityChecks: readonly ReviewCheck[] = [
  clientAuthentication,
  rolesWithTooMuch,
  securityDefiner,
  rowSecurity,
  publicGrants,
  publicCreate,
  publicDefaults,
  unencryptedConnections,
  passwords,
  untrustedLanguages,
];
