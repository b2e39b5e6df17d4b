import { randomUUID } from "node:crypto";
import { CreateHostedZoneCommand } from "@aws-sdk/client-route-53";
import type { Context } from "aws-lambda";
import { type FunctionEvent, stepHandler } from "../../lambdas/handler.ts";
import { rdsBackups } from "../../lib/aws/backups.ts";
import { type AnyClient, awsClients } from "../../lib/aws/clients.ts";
import { controlPlanePorts } from "../../lib/aws/control-plane.ts";
import { awsDatabases } from "../../lib/aws/databases.ts";
import { environmentNames, type PlatformResources } from "../../lib/aws/resources.ts";
import { systemClock } from "../../lib/clock.ts";
import { configDefaults } from "../../lib/config/beyond-defaults.ts";
import { jobNamed } from "../../lib/jobs/index.ts";
import { recorderOf } from "../../lib/jobs/invocation.ts";
import type { Run } from "../../lib/jobs/job.ts";
import { runOfExecution } from "../../lib/jobs/run-identity.ts";
import type { Backups } from "../../lib/ports/backups.ts";
import type { Ports } from "../../lib/ports/index.ts";
import { compactDate } from "../../lib/retention/calendar.ts";
import { dead, primary, replica } from "../routing/probes.ts";
import { type RecordedCall, recordCalls } from "./aws-calls.ts";
import { cloudCallsOf } from "./cloud-calls.ts";
import { changeAnswers, type EmulatedAnswers, emulatedAnswers } from "./emulated-answers.ts";
import { motoCredentials } from "./moto.ts";
import { makePlatform } from "./moto-rds.ts";
import type { CloudCall, DeployedFunction } from "./permissions.ts";

/** Where functions are run instead of AWS. */
export interface Surroundings {
  /** Of the emulator; each run begins with an empty one. */
  moto: { endpoint: string; reset(): Promise<void> };
  /** `localhost` and a port that leads to a server with TLS, roles and schema; asked for each server's name. */
  portOf(server: string): number;
  certificateAuthority: string;
}

/** A function in its surroundings, for what happens before and during its run. */
interface Stage {
  /** Of the run that the events belong to. */
  run: Run;
  resources: PlatformResources;
  answers: EmulatedAnswers;
  /** Other steps' work: known, but not this function's call. */
  others: Backups;
  /** An event of its state machine with this input, again as long as the step asks for it. */
  invoke(input?: unknown, resume?: unknown): Promise<void>;
}

/** What every login's token is here. */
export const tokenOfTest = "token";

const restoredServer = "restored";
const day = 86_400_000;

/** What each control-plane step does in its life; database steps only differ in who logs in where. */
const lives: Record<string, (stage: Stage) => Promise<void>> = {
  async "back-up/copy"({ resources, answers, invoke }) {
    const backupId = `pgkeep-${resources.key}-${compactDate(new Date())}`;
    const input = { backupId, prune: true, manifest: null, warnings: [] };
    await invoke(input);
    await invoke(input);
    for (const region of [resources.region, ...resources.copyToRegions]) {
      answers.statuses.set(`${region}/${backupId}`, "failed");
      await invoke(input);
    }
  },
  async "back-up/prune"({ resources, answers, others, invoke }) {
    const now = Date.now();
    for (const [id, age] of [
      [`pgkeep-${resources.key}-new`, 0],
      [`pgkeep-${resources.key}-old-a`, 3 * day],
      // Of each day the newest is kept.
      [`pgkeep-${resources.key}-old-b`, 3 * day + 1],
    ] as const) {
      answers.times.set(id, new Date(Math.floor(now / day) * day - age + (age > 0 ? day / 2 : 0)));
      await others.create(id);
      await others.create(id);
    }
    await invoke({ backupId: "x", prune: true, manifest: null, warnings: [], backup: null, existed: true });
  },
  async "check-recovery/look"({ resources, others, invoke }) {
    await others.create(`pgkeep-${resources.key}-20260101`);
    await invoke();
  },
  async "drill-restore/restore"({ others, resources, invoke }) {
    await others.create(`pgkeep-${resources.key}-20260101`);
    const leftover = { name: "drill-20260101t000000z-left", target: { kind: "latest" } } as const;
    for (let poll = 0; poll < 3; poll += 1) await others.restore(leftover);
    await invoke();
  },
  async "drill-restore/clean-up"({ run, others, resources, invoke }) {
    const backupId = `pgkeep-${resources.key}-20260101`;
    await others.create(backupId);
    const made = { name: `drill-${run.id}`, target: { kind: "latest" } } as const;
    for (let poll = 0; poll < 3; poll += 1) await others.restore(made);
    await invoke({ proofs: [{ name: "rows", ok: true, detail: "" }], backupId });
  },
  async "route-replicas/publish"({ resources, invoke }) {
    const names = resources.readerDns === undefined ? [] : ["replica-1", "replica-2"];
    for (let version = 1; version <= 23; version += 1) {
      // One goes away now and then, so that records change and go.
      const servers = names.map((name, index) =>
        index === 0 && version % 10 === 2 ? dead(name) : replica(name),
      );
      await invoke({ probedAt: new Date().toISOString(), primary: primary(), replicas: servers });
    }
  },
};

/**
 * Runs a deployed step's own code with its own environment, as its state machine or schedule would, and gives
 * every question that AWS would ask IAM meanwhile: for calls to the emulator, and for logins to databases.
 */
export async function recordedCalls(
  { environment }: DeployedFunction,
  surroundings: Surroundings,
): Promise<CloudCall[]> {
  const job = jobNamed(environment[environmentNames.job] ?? "");
  const stepName = environment[environmentNames.step] ?? "";
  const step = job.steps.find(({ name }) => name === stepName);
  if (step === undefined) throw new Error(`${job.name} has no step ${stepName}`);
  const deployed = JSON.parse(environment[environmentNames.resources] ?? "{}") as PlatformResources;
  const servers = [deployed.primary, ...deployed.replicas];
  const reachable = <Server extends { name: string }>(server: Server) => ({
    ...server,
    host: "localhost",
    port: surroundings.portOf(server.name),
  });
  let resources: PlatformResources = {
    ...deployed,
    primary: reachable(deployed.primary),
    replicas: deployed.replicas.map(reachable),
  };
  const logins: CloudCall[] = [];
  const logIn = ({ port, user }: { port: number; user: string }) => {
    const index = servers.findIndex(({ name }) => surroundings.portOf(name) === port);
    const { partition, region, account, resourceIds } = deployed;
    // Members of a cluster share its id; what is restored has one that nobody knows.
    const id = index < 0 ? "db-RESTORED" : (resourceIds[index] ?? resourceIds[0]);
    const resource = `arn:${partition}:rds-db:${region}:${account}:dbuser:${id}/${user}`;
    logins.push({ action: "rds-db:connect", resource });
  };

  const answers = emulatedAnswers();
  const { calls, record } = recordCalls();
  const arranged: RecordedCall[] = [];
  const clientsOf = (configure: (client: AnyClient) => void) =>
    awsClients({
      region: deployed.region,
      endpoint: surroundings.moto.endpoint,
      credentials: motoCredentials,
      configure: (client) => {
        configure(client);
        changeAnswers(client, answers);
      },
    });
  const own = clientsOf(record);
  const foreign = recordCalls();
  const hands = clientsOf(foreign.record);
  let zone: string | undefined;
  if (step.where === "control-plane") {
    await surroundings.moto.reset();
    resources = await makePlatform(surroundings.moto.endpoint, hands.rds(), resources);
    if (resources.readerDns !== undefined) {
      const name = resources.readerDns.recordName.split(".").slice(1).join(".");
      const made = await hands
        .route53()
        .send(new CreateHostedZoneCommand({ Name: name, CallerReference: "test" }));
      zone = made.HostedZone?.Id?.split("/").at(-1) ?? "";
      resources = { ...resources, readerDns: { ...resources.readerDns, hostedZoneId: zone } };
    }
    foreign.calls.length = 0;
  }

  const openPorts = (): Ports => ({
    ...(step.where === "control-plane"
      ? controlPlanePorts(own, resources)
      : awsDatabases(resources, {
          token: async (login) => {
            logIn(login);
            return tokenOfTest;
          },
          certificateAuthorities: surroundings.certificateAuthority,
        })),
    clock: systemClock,
    metrics: { put: async () => {} },
    notifications: { send: async () => {} },
  });
  const variables = {
    ...environment,
    [environmentNames.resources]: JSON.stringify(resources),
    POWERTOOLS_LOG_LEVEL: "SILENT",
  };
  const handler = within(variables, () => stepHandler(job, stepName, openPorts, configDefaults()));
  const send = (event: unknown) => handler(event as FunctionEvent, context);
  const execution = { id: randomUUID(), startedAt: new Date().toISOString() };
  const invoke: Stage["invoke"] = async (input = null, resume = null) => {
    const answer = await send({ run: execution, trigger: {}, input, resume, failure: null });
    if (!("kind" in answer)) throw new Error(`${job.name}/${stepName} answered without a kind`);
    if (answer.kind === "failed") throw new Error(`${job.name}/${stepName}: ${answer.reason}`);
    if (answer.kind === "again") await invoke(input, answer.state);
  };
  try {
    const life = lives[`${job.name}/${stepName}`];
    if (life !== undefined) {
      const others = rdsBackups(hands, resources);
      await life({ run: runOfExecution(job.name, execution), resources, answers, others, invoke });
    } else if (step.where === "control-plane") {
      throw new Error(`nobody has said how ${job.name}/${stepName} lives`);
    } else if (job.steps.length === 1) {
      await send({});
    } else {
      const endpoint = { host: "localhost", port: surroundings.portOf(restoredServer) };
      const input = {
        endpoint,
        backupId: "none",
        instance: "x",
        target: { kind: "latest" },
        restoredTo: null,
      };
      await send({ run: execution, trigger: {}, input, resume: null, failure: null });
      if (recorderOf(job)?.name === stepName) {
        await send({ run: execution, trigger: {}, finish: { report: null, failure: null } });
      }
    }
  } finally {
    own.close();
    hands.close();
  }
  for (const call of foreign.calls) arranged.push({ ...call, arranged: true });
  // The emulator names its zones itself.
  const renamed = calls.map(
    (call): RecordedCall =>
      zone !== undefined && call.input.HostedZoneId === zone
        ? { ...call, input: { ...call.input, HostedZoneId: deployed.readerDns?.hostedZoneId } }
        : call,
  );
  return distinct([...cloudCallsOf([...arranged, ...renamed], deployed), ...logins]);
}

export function distinct(calls: readonly CloudCall[]): CloudCall[] {
  return [...new Map(calls.map((call) => [JSON.stringify(call), call])).values()];
}

/** Enough of what Lambda tells a function. */
export const context = { getRemainingTimeInMillis: () => 60_000 } as unknown as Context;

/** Does something with these environment variables and puts back what was there. */
export function within<Result>(variables: Record<string, string>, act: () => Result): Result {
  const before = Object.keys(variables).map((name) => [name, process.env[name]] as const);
  Object.assign(process.env, variables);
  const restore = () => {
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  };
  let result: Result;
  try {
    result = act();
  } catch (error) {
    restore();
    throw error;
  }
  if (result instanceof Promise) return result.finally(restore) as Result;
  restore();
  return result;
}
