import { PgkeepError } from "../errors.ts";
import type { Json } from "../json.ts";
import type { NeedablePorts, PortName } from "../ports/index.ts";
import type { MetricDatum } from "../ports/metrics.ts";
import { declaredPorts } from "./declared-ports.ts";
import type { AnyStep, Run, RunOptions, StepContext, StepResult } from "./job.ts";

/** How long a step may take to wind down after its deadline before it is given up. */
const graceMilliseconds = 10_000;

export interface Execution {
  input: Json;
  resume: Json | undefined;
  /** Ends the execution before the step's own time is over. */
  signal: AbortSignal | undefined;
  /** Gets what the step measures. */
  measured: MetricDatum[];
}

/** Executes a step once, with a deadline. The caller has seen that its ports are there. */
export async function executeStep(
  step: AnyStep,
  options: RunOptions,
  run: Run,
  { input, resume, signal, measured }: Execution,
): Promise<StepResult<Json>> {
  const { clock } = options.ports;
  signal?.throwIfAborted();
  const endsAt = performance.now() + step.timeoutSeconds * 1000;
  const deadline = new AbortController();
  const forward = () => deadline.abort(new PgkeepError("deadline", `${step.name} was interrupted`));
  signal?.addEventListener("abort", forward, { once: true });
  const timer = setTimeout(
    () =>
      deadline.abort(
        new PgkeepError("deadline", `${run.job}/${step.name} ran out of its ${step.timeoutSeconds} s`),
      ),
    step.timeoutSeconds * 1000,
  );
  try {
    const context: StepContext<Json, PortName> = {
      config: options.config,
      ports: declaredPorts(step, options.ports as NeedablePorts),
      clock,
      input,
      resume,
      deadline: deadline.signal,
      timeLeft: () => Math.min(endsAt - performance.now(), options.timeLeft?.() ?? Number.POSITIVE_INFINITY),
      dryRun: options.dryRun === true,
      run,
      progress: (message) => options.onProgress?.(message),
      measure: (name, value, dimensions = {}) => {
        measured.push({ name, value, dimensions, at: clock.now() });
      },
    };
    return await withGrace(step.run(context as never), deadline.signal);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", forward);
  }
}

/** Gives a step some time to stop by itself once its deadline is there, then gives up on it. */
async function withGrace<T>(work: Promise<T>, deadline: AbortSignal): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const overdue = new Promise<never>((_, reject) => {
    deadline.addEventListener(
      "abort",
      () => {
        timer = setTimeout(() => reject(deadline.reason), graceMilliseconds);
      },
      { once: true },
    );
  });
  try {
    return await Promise.race([work, overdue]);
  } finally {
    clearTimeout(timer);
  }
}
