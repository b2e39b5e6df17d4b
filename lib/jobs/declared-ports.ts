import { PgkeepError } from "../errors.ts";
import type { NeedablePorts, PortName } from "../ports/index.ts";
import type { AnyStep } from "./job.ts";

/**
 * The ports of a step, where it says which functions of a port it calls without the others: what would be denied
 * on AWS fails everywhere.
 */
export function declaredPorts(step: AnyStep, ports: NeedablePorts): NeedablePorts {
  if (step.calls === undefined) return ports;
  const narrowed = Object.entries(step.calls).map(([name, calls]) => [
    name,
    only(step, name, ports[name as PortName], calls ?? []),
  ]);
  return { ...ports, ...Object.fromEntries(narrowed) };
}

function only<Port extends object>(step: AnyStep, name: string, port: Port, calls: readonly string[]): Port {
  return new Proxy(port, {
    get(target, property) {
      const value: unknown = Reflect.get(target, property, target);
      if (typeof value !== "function") return value;
      if (calls.includes(String(property))) return value.bind(target);
      throw new PgkeepError(
        "internal",
        `step ${step.name} does not declare that it calls ${name}.${String(property)}`,
        {
          remedy: `add it to the step's \`calls\``,
        },
      );
    },
  });
}
