import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { environmentNames } from "../../lib/aws/resources.ts";
import { applyInstall } from "../../lib/install/apply.ts";
import { jobRoleNames } from "../../lib/install/role-names.ts";
import { identifier, literal } from "../../lib/postgres/identifiers.ts";
import { type Authority, makeAuthority } from "../helpers/certificates.ts";
import { configFor } from "../helpers/config.ts";
import { Doors } from "../helpers/doors.ts";
import { switchTlsOn, withPasswords } from "../helpers/function-setting.ts";
import { bundleDirectory } from "../helpers/lambda.ts";
import { noMoto, useMoto } from "../helpers/moto.ts";
import {
  type CloudCall,
  deniedBy,
  type Identity,
  identitiesOf,
  isNeeded,
  partsOf,
} from "../helpers/permissions.ts";
import { useServer } from "../helpers/postgres.ts";
import { recordedAccessCalls } from "../helpers/recorded-access.ts";
import { recordedPagerCalls } from "../helpers/recorded-pager.ts";
import { recordedCalls, tokenOfTest } from "../helpers/recorded-runs.ts";
import { useSynthesizer } from "../helpers/synth.ts";
import { callsOfServices } from "../helpers/template-calls.ts";

const platforms = {
  "an instance with copies elsewhere":
    "{ database: { name: shop }, backups: { copyToRegions: [eu-central-1] } }",
  "an instance alone": "{ database: { name: shop }, replicas: { count: 0 }, pooling: { enabled: false } }",
  "a Multi-AZ cluster": "{ database: { name: shop, topology: multi-az-cluster } }",
  "Aurora with copies elsewhere, logins by IAM":
    "{ database: { name: shop, topology: aurora }, backups: { copyToRegions: [eu-central-1] }, roles: { logins: iam } }",
} as const;

interface Shown {
  identity: Identity;
  calls: CloudCall[];
}

interface Unshown {
  /** Of the role. */
  role: RegExp;
  /** Sid of the statement, or the ARN of AWS's own policy; `unnamed` where a construct of CDK wrote the statement. */
  statement: string;
  reason: string;
}

const unnamed = "(no sid)";

/** Everything that roles allow and no run of their code can show, and why it is there. */
// biome-ignore format: one statement a line, so that each can be judged by itself
const unshown: Unshown[] = [
  { role: /^pgkeep-shop-/, statement: "WriteOwnLogs", reason: "Lambda writes what a function prints, with the function's role" },
  { role: /^pgkeep-shop-/, statement: "SendTraces", reason: "Lambda's X-Ray daemon and Step Functions send traces with the role, outside of the code" },
  { role: /^pgkeep-shop-/, statement: "ListInterfaces", reason: "Lambda attaches a function to the VPC with the function's role" },
  { role: /^pgkeep-shop-/, statement: "CreateInterfaces", reason: "the same" },
  { role: /^pgkeep-shop-/, statement: "ChangeInterfaces", reason: "the same" },
  { role: /^pgkeep-shop-/, statement: "RemoveInterfaces", reason: "the same" },
  { role: /-states$/, statement: "DeliverLogs", reason: "Step Functions sets the delivery of its logs up with the state machine's role" },
  { role: /ProxyRole/, statement: "ConnectAsLogins", reason: "RDS Proxy logs in by IAM as this role" },
  { role: /frameworkonEvent/, statement: unnamed, reason: "the code is CDK's provider framework, which calls the one function that sets roles up" },
  { role: /frameworkonEvent/, statement: "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole", reason: "CDK's provider framework writes its logs" },
  { role: /FlowsIAMRole/, statement: unnamed, reason: "EC2 delivers the VPC's flow logs with it; CDK wrote it" },
  { role: /MonitoringRole/, statement: "arn:aws:iam::aws:policy/service-role/AmazonRDSEnhancedMonitoringRole", reason: "RDS writes metrics of the operating system with it" },
];

describe.skipIf(noMoto !== undefined)(`least privilege${noMoto === undefined ? "" : ` (${noMoto})`}`, () => {
  const synthesizer = useSynthesizer();
  const moto = useMoto();
  const server = useServer();
  const doors = new Doors();
  let directory: Awaited<ReturnType<typeof bundleDirectory>>;
  let authority: Authority;

  beforeAll(async () => {
    directory = await bundleDirectory();
    authority = await makeAuthority(directory.path, "authority");
    const database = await server.createDatabase("shop");
    const session = await server.connect(database, await server.createMaster(database));
    await applyInstall(session, configFor(database));
    await session.close();
    const superuser = await server.connect(database);
    for (const role of Object.values(jobRoleNames)) {
      await superuser.query(`alter role ${identifier(role)} password ${literal(tokenOfTest)}`);
    }
    await superuser.close();
    await switchTlsOn(server, authority, "localhost", withPasswords);
    await doors.open(server.port, ["primary", "replica-1", "replica-2", "readers", "restored"]);
  });
  afterAll(async () => {
    await doors.close();
    await directory.remove();
  });

  describe.each(Object.entries(platforms))("of the roles for %s", (_, text) => {
    let shown: Shown[] = [];

    beforeAll(async () => {
      const synthesized = synthesizer.text(text);
      const surroundings = {
        moto,
        portOf: (name: string) => doors.portOf(name),
        certificateAuthority: authority.certificate,
      };
      shown = [];
      for (const identity of identitiesOf(synthesized)) {
        shown.push({ identity, calls: await callsOf(identity) });
      }
      async function callsOf(identity: Identity): Promise<CloudCall[]> {
        const { lambda } = identity;
        if (lambda?.environment[environmentNames.job] !== undefined) {
          return recordedCalls(lambda, surroundings);
        }
        const master = lambda?.environment[environmentNames.masterSecret];
        if (lambda !== undefined && master !== undefined) return recordedAccessCalls(lambda, [master]);
        if (lambda !== undefined && /-(?:page|look)$/.test(lambda.name))
          return recordedPagerCalls(lambda, surroundings);
        return callsOfServices(synthesized, identity);
      }
    }, 300_000);

    it("allows what they do", async () => {
      for (const { identity, calls } of shown) {
        expect(await deniedBy(identity.statements, calls), identity.name).toEqual([]);
      }
    });

    it("allows nothing that they do not do", async () => {
      const surplus = (await statementsOf(shown)).flatMap(({ role, statement, notNeeded, needed }) => {
        const listed = unshown.some((entry) => entry.role.test(role) && entry.statement === statement);
        if (listed)
          return needed === 0 ? [] : [`${role}, ${statement}: runs show it, so it must not be listed`];
        return notNeeded.map((part) => `${role}, ${statement}: ${part}`);
      });
      expect(surplus).toEqual([]);
    });
  });

  it("has nothing listed that no role allows any more", () => {
    const stale = unshown.filter(
      ({ role, statement }) => !seen.some((one) => one.statement === statement && role.test(one.role)),
    );
    expect(stale).toEqual([]);
  });

  const seen: { role: string; statement: string }[] = [];

  /** Each statement with what of it no call needs, and how many of its parts some call needs. */
  async function statementsOf(shown: readonly Shown[]) {
    const found: { role: string; statement: string; notNeeded: string[]; needed: number }[] = [];
    for (const { identity, calls } of shown) {
      const role = identity.name;
      for (const arn of identity.managedPolicies) {
        found.push({ role, statement: arn, notNeeded: ["all of it"], needed: 0 });
      }
      for (const [index] of identity.statements.entries()) {
        const parts = partsOf(identity.statements, index);
        const notNeeded: string[] = [];
        for (const part of parts) if (!(await isNeeded(part, calls))) notNeeded.push(part.part);
        const statement = identity.statements[index]?.Sid ?? unnamed;
        found.push({ role, statement, notNeeded, needed: parts.length - notNeeded.length });
      }
    }
    seen.push(...found);
    return found;
  }
});
