import { Logger } from "@aws-lambda-powertools/logger";
import type { Context } from "aws-lambda";
import type { Look } from "../lib/alarms/page/look.ts";
import { type LookedAt, lookFor } from "../lib/jobs/explain-alarm.ts";
import { openPorts } from "./database.ts";
import { type ConfigDefaults, functionEnvironment } from "./handler.ts";

/** The function inside the VPC that looks for the cause of an alarm; it writes nothing. */
export function lookHandler(defaults: ConfigDefaults): (alarm: LookedAt, context: Context) => Promise<Look> {
  const logger = new Logger({ serviceName: "pgkeep-look" });
  const environment = functionEnvironment(defaults);
  const ports = openPorts(environment);
  return async (alarm, context) => {
    logger.addContext(context);
    const look = await lookFor(ports, environment.config, alarm);
    logger.info(`looked for the cause of ${alarm.entry}`, {
      findings: look.findings.length,
      unseen: look.unseen,
    });
    return look;
  };
}
