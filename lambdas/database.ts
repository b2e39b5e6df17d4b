import { awsDatabases } from "../lib/aws/databases.ts";
import { environmentKeys } from "../lib/aws/environment-keys.ts";
import { iamToken } from "../lib/aws/iam-token.ts";
import { embeddedMetrics } from "../lib/aws/metrics.ts";
import { rdsCertificates } from "../lib/aws/rds-certificates.ts";
import { systemClock } from "../lib/clock.ts";
import { PgkeepError } from "../lib/errors.ts";
import type { OpenPorts } from "./handler.ts";

/** The ports of a `database` step: SQL and metrics, and nothing that needs a way out of the VPC. */
export const openPorts: OpenPorts = ({ config, resources }) => ({
  ...awsDatabases(resources, {
    token: async ({ host, port, user }) =>
      iamToken({
        host,
        port,
        user,
        region: resources.region,
        keys: environmentKeys(),
        now: systemClock.now(),
      }),
    certificateAuthorities: rdsCertificates(),
  }),
  clock: systemClock,
  metrics: embeddedMetrics(config.key),
  notifications: {
    send: async ({ subject }) => {
      throw new PgkeepError("refused", `a database step reaches nobody outside the VPC: ${subject}`);
    },
  },
});
