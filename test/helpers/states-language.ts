import type { State, StateMachineDefinition } from "../../lib/constructs/state-machine-definition.ts";
import type { Json } from "../../lib/json.ts";

/** What a task answers; throwing a `StatesError` is how it fails. */
export type Call = (resource: string, parameters: Json) => Json | Promise<Json>;

export class StatesError extends Error {
  override readonly name: string;
  constructor(name: string, message: string) {
    super(message);
    this.name = name;
  }
}

export interface Walk {
  status: "SUCCEEDED" | "FAILED";
  output: Json;
  error?: { Error: string; Cause: string };
  /** Names of the states, in order. */
  path: string[];
  /** Seconds of each wait. */
  waits: number[];
  /** Bytes of the largest data that a state had, or that a task was given. */
  largestBytes: number;
  /** Events that the execution's history would have, as many as the documentation counts. */
  events: number;
}

/**
 * Executes a state machine of the kind pgkeep makes (JSONPath): Pass, Task, Choice, Wait and Fail with the paths
 * and functions that it uses. Anything else, and a path that leads nowhere, throws, as it would fail on AWS.
 */
export async function walk(
  definition: StateMachineDefinition,
  call: Call,
  { input = {}, executionId = "arn:execution:own" }: { input?: Json; executionId?: string } = {},
): Promise<Walk> {
  const context: Json = {
    Execution: { Id: executionId, Name: "own-name", Input: input, StartTime: "2026-01-02T03:04:05.678Z" },
    StateMachine: { Id: "arn:machine" },
  };
  const result: Walk = { status: "SUCCEEDED", output: null, path: [], waits: [], largestBytes: 0, events: 1 };
  const weigh = (value: Json) => {
    result.largestBytes = Math.max(result.largestBytes, Buffer.byteLength(JSON.stringify(value)));
  };
  let data: Json = input;
  let name = definition.StartAt;
  for (;;) {
    const state = definition.States[name];
    if (state === undefined) throw new Error(`there is no state ${name}`);
    result.path.push(name);
    weigh(data);
    result.events += state.Type === "Task" ? 5 : 2;
    let next = state.Next;
    if (state.Type === "Fail") {
      const cause =
        state.CausePath === undefined ? state.Cause : resolve(String(state.CausePath), data, context);
      return { ...result, status: "FAILED", error: { Error: String(state.Error), Cause: String(cause) } };
    }
    if (state.Type === "Choice") {
      const choices = state.Choices as Rule[];
      next = choices.find((rule) => holds(rule, data, context))?.Next ?? (state.Default as string);
    } else if (state.Type === "Wait") {
      result.waits.push(Number(resolve(String(state.SecondsPath), data, context)));
    } else if (state.Type === "Pass") {
      data = pass(state, data, context);
    } else if (state.Type === "Task") {
      const outcome = await task(state, data, context, (resource, parameters) => {
        weigh(parameters);
        return call(resource, parameters);
      });
      data = outcome.data;
      next = outcome.next;
    } else throw new Error(`no rule for ${state.Type}`);
    if (next === undefined) return { ...result, output: data };
    name = next;
  }
}

function pass(state: State, data: Json, context: Json): Json {
  const made = "Parameters" in state ? template(state.Parameters as Json, data, context) : data;
  return put(data, "Result" in state ? (state.Result as Json) : made, state.ResultPath);
}

interface Retrier {
  ErrorEquals: string[];
  MaxAttempts: number;
}

async function task(
  state: State,
  data: Json,
  context: Json,
  call: Call,
): Promise<{ data: Json; next: string | undefined }> {
  const parameters = template(state.Parameters as Json, data, context);
  for (let attempt = 0; ; attempt += 1) {
    try {
      const answer = await call(String(state.Resource), parameters);
      const selected =
        "ResultSelector" in state ? template(state.ResultSelector as Json, answer, context) : answer;
      return { data: put(data, selected, state.ResultPath), next: state.Next };
    } catch (error) {
      if (!(error instanceof StatesError)) throw error;
      const matches = ({ ErrorEquals }: { ErrorEquals: string[] }) =>
        ErrorEquals.includes(error.name) ||
        ErrorEquals.includes("States.ALL") ||
        (ErrorEquals.includes("States.TaskFailed") && error.name !== "States.Timeout");
      const retrier = ((state.Retry ?? []) as Retrier[]).find(matches);
      if (retrier !== undefined && attempt < retrier.MaxAttempts) continue;
      const catcher = (
        (state.Catch ?? []) as { ErrorEquals: string[]; Next: string; ResultPath?: string }[]
      ).find(matches);
      if (catcher === undefined) throw error;
      return {
        data: put(data, { Error: error.name, Cause: error.message }, catcher.ResultPath),
        next: catcher.Next,
      };
    }
  }
}

interface Rule {
  Next?: string;
  And?: Rule[];
  Not?: Rule;
  Variable?: string;
  IsPresent?: boolean;
  IsNull?: boolean;
  StringEquals?: string;
  StringEqualsPath?: string;
  NumericLessThan?: number;
  NumericGreaterThan?: number;
}

function holds(rule: Rule, data: Json, context: Json): boolean {
  if (rule.And !== undefined) return rule.And.every((part) => holds(part, data, context));
  if (rule.Not !== undefined) return !holds(rule.Not, data, context);
  const path = String(rule.Variable);
  if (rule.IsPresent !== undefined) return (find(path, data, context) !== undefined) === rule.IsPresent;
  const value = resolve(path, data, context);
  if (rule.IsNull !== undefined) return (value === null) === rule.IsNull;
  if (rule.StringEquals !== undefined) return value === rule.StringEquals;
  if (rule.StringEqualsPath !== undefined) return value === resolve(rule.StringEqualsPath, data, context);
  if (rule.NumericLessThan !== undefined) return Number(value) < rule.NumericLessThan;
  if (rule.NumericGreaterThan !== undefined) return Number(value) > rule.NumericGreaterThan;
  throw new Error(`no rule for ${JSON.stringify(rule)}`);
}

function template(given: Json, data: Json, context: Json): Json {
  if (Array.isArray(given)) return given.map((item) => template(item, data, context));
  if (typeof given !== "object" || given === null) return given;
  return Object.fromEntries(
    Object.entries(given).map(([key, value]): [string, Json] =>
      key.endsWith(".$")
        ? [key.slice(0, -2), resolve(String(value), data, context)]
        : [key, template(value as Json, data, context)],
    ),
  );
}

function put(data: Json, value: Json, path: unknown): Json {
  if (path === undefined || path === "$") return value;
  if (path === null) return data;
  const copy = structuredClone(data) as Record<string, Json>;
  const names = String(path).slice(2).split(".");
  let place = copy;
  for (const name of names.slice(0, -1)) {
    place[name] ??= {};
    place = place[name] as Record<string, Json>;
  }
  place[names.at(-1) ?? ""] = value;
  return copy;
}

/** The value of a path or of a call of a function. */
function resolve(expression: string, data: Json, context: Json): Json {
  if (expression.startsWith("States.")) return callFunction(expression, data, context);
  if (/^-?\d+$/.test(expression)) return Number(expression);
  const value = find(expression, data, context);
  if (value === undefined) throw new Error(`${expression} leads nowhere in ${JSON.stringify(data)}`);
  return value;
}

function find(path: string, data: Json, context: Json): Json | undefined {
  const [root, rest] = path.startsWith("$$") ? [context, path.slice(2)] : [data, path.slice(1)];
  let values: (Json | undefined)[] = [root];
  let many = false;
  for (const [, name, index] of rest.matchAll(/\.(\w+)|\[(\d+|\*)\]/g)) {
    if (index === "*") many = true;
    values = values.flatMap((value) => {
      if (index === "*") return Array.isArray(value) ? value : [];
      if (typeof value !== "object" || value === null) return [undefined];
      return [(value as Record<string, Json>)[name ?? index ?? ""]];
    });
  }
  return many ? (values.filter((value) => value !== undefined) as Json) : values[0];
}

function callFunction(expression: string, data: Json, context: Json): Json {
  const match = /^States\.(\w+)\((.*)\)$/.exec(expression);
  const values = splitArguments(match?.[2] ?? "").map((part) => resolve(part, data, context));
  const [first, second] = values;
  if (match?.[1] === "MathAdd") return Number(first) + Number(second);
  if (match?.[1] === "ArrayLength") return (first as Json[]).length;
  if (match?.[1] === "JsonToString") return JSON.stringify(first);
  if (match?.[1] === "ArrayGetItem") {
    const item = (first as Json[])[Number(second)];
    if (item === undefined) throw new Error(`${expression}: no such item`);
    return item;
  }
  throw new Error(`no rule for ${expression}`);
}

function splitArguments(text: string): string[] {
  const parts = [""];
  let depth = 0;
  for (const character of text) {
    if (character === "," && depth === 0) parts.push("");
    else parts[parts.length - 1] += character;
    if (character === "(") depth += 1;
    if (character === ")") depth -= 1;
  }
  return parts.map((part) => part.trim());
}
