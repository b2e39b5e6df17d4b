import { Tracer } from "@aws-lambda-powertools/tracer";
import { awsClients } from "../lib/aws/clients.ts";
import { controlPlanePorts } from "../lib/aws/control-plane.ts";
import { embeddedMetrics } from "../lib/aws/metrics.ts";
import { systemClock } from "../lib/clock.ts";
import type { OpenPorts } from "./handler.ts";

/** The ports of a `control-plane` step: AWS's APIs, each call of which is traced. */
export const openPorts: OpenPorts = ({ config, resources }) => {
  const tracer = new Tracer({ serviceName: `pgkeep-${config.key}` });
  const clients = awsClients({
    region: resources.region,
    configure: (client) => void tracer.captureAWSv3Client(client),
  });
  return {
    ...controlPlanePorts(clients, resources),
    clock: systemClock,
    metrics: embeddedMetrics(config.key),
  };
};
