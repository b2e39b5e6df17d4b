import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

interface StoredSecret {
  /** Text by version. */
  values: Map<string, string>;
  /** Stages by version. */
  stages: Record<string, string[]>;
}

/** The part of Secrets Manager that rotation needs, at its wire protocol. */
export interface FakeSecretsManager {
  /** Environment with which the SDK asks here. */
  environment: Record<string, string>;
  set(arn: string, value: Record<string, unknown>): void;
  /** Begins a rotation as the service does: an empty version that is pending. */
  begin(arn: string, version: string): void;
  current(arn: string): Record<string, string>;
  stages(arn: string): Record<string, string[]>;
  /** Names of the calls, in order. */
  calls: string[];
  /** The same with what was given. */
  requests: { name: string; input: Record<string, unknown> }[];
  stop(): Promise<void>;
}

export async function startSecretsManager(): Promise<FakeSecretsManager> {
  const secrets = new Map<string, StoredSecret>();
  const calls: string[] = [];
  const requests: FakeSecretsManager["requests"] = [];
  const found = (arn: string): StoredSecret => {
    const secret = secrets.get(arn);
    if (secret === undefined) throw new Error("ResourceNotFoundException");
    return secret;
  };
  const actions: Record<string, (input: Record<string, string>) => unknown> = {
    GetSecretValue({ SecretId = "", VersionStage = "AWSCURRENT", VersionId }) {
      const { values, stages } = found(SecretId);
      const version = VersionId ?? Object.keys(stages).find((id) => stages[id]?.includes(VersionStage)) ?? "";
      const text = values.get(version);
      if (text === undefined || stages[version]?.includes(VersionStage) !== true) {
        throw new Error("ResourceNotFoundException");
      }
      return { ARN: SecretId, VersionId: version, SecretString: text };
    },
    DescribeSecret({ SecretId = "" }) {
      return { ARN: SecretId, RotationEnabled: true, VersionIdsToStages: found(SecretId).stages };
    },
    PutSecretValue({ SecretId = "", ClientRequestToken = "", SecretString = "" }) {
      const secret = found(SecretId);
      secret.values.set(ClientRequestToken, SecretString);
      secret.stages[ClientRequestToken] = ["AWSPENDING"];
      return {};
    },
    UpdateSecretVersionStage({ SecretId = "", MoveToVersionId = "", RemoveFromVersionId = "" }) {
      const { stages } = found(SecretId);
      stages[RemoveFromVersionId] = ["AWSPREVIOUS"];
      stages[MoveToVersionId] = ["AWSCURRENT"];
      return {};
    },
  };
  const server = createServer((request, response) => {
    void (async () => {
      let text = "";
      for await (const chunk of request) text += chunk;
      const name = String(request.headers["x-amz-target"]).split(".")[1] ?? "";
      calls.push(name);
      const headers = { "content-type": "application/x-amz-json-1.1" };
      try {
        const input = JSON.parse(text) as Record<string, string>;
        requests.push({ name, input });
        const answer = actions[name]?.(input);
        response.writeHead(200, headers).end(JSON.stringify(answer));
      } catch (error) {
        response
          .writeHead(400, headers)
          .end(JSON.stringify({ __type: (error as Error).message, message: "none" }));
      }
    })();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    environment: { AWS_ENDPOINT_URL_SECRETS_MANAGER: `http://127.0.0.1:${port}` },
    calls,
    requests,
    set(arn, value) {
      secrets.set(arn, {
        values: new Map([["first", JSON.stringify(value)]]),
        stages: { first: ["AWSCURRENT"] },
      });
    },
    begin(arn, version) {
      found(arn).stages[version] = ["AWSPENDING"];
    },
    current(arn) {
      const { values, stages } = found(arn);
      const version = Object.keys(stages).find((id) => stages[id]?.includes("AWSCURRENT")) ?? "";
      return JSON.parse(values.get(version) ?? "{}") as Record<string, string>;
    },
    stages: (arn) => found(arn).stages,
    async stop() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
