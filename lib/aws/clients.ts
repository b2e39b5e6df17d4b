import { RDSClient } from "@aws-sdk/client-rds";
import { Route53Client } from "@aws-sdk/client-route-53";
import { SNSClient } from "@aws-sdk/client-sns";
import { SSMClient } from "@aws-sdk/client-ssm";

/** The part of every SDK client that a test or a tracer hooks into. */
export type AnyClient = RDSClient | Route53Client | SNSClient | SSMClient;

export interface ClientOptions {
  region: string;
  /** Another place than AWS; by default the SDK's own rules (`AWS_ENDPOINT_URL`) hold. */
  endpoint?: string;
  credentials?: { accessKeyId: string; secretAccessKey: string; sessionToken?: string };
  /** How often a call is made when AWS throttles or fails, with growing pauses. Default 8. */
  maxAttempts?: number;
  /** Called with each client that is made. */
  configure?: (client: AnyClient) => void;
}

/** The SDK clients of one process, each made when it is first needed. */
export interface AwsClients {
  /** Of the given region, by default the database's own. */
  rds(region?: string): RDSClient;
  ssm(): SSMClient;
  route53(): Route53Client;
  sns(): SNSClient;
  close(): void;
}

/** Throttled calls are repeated in `adaptive` mode: the client slows down by itself as long as AWS asks it to. */
export function awsClients(options: ClientOptions): AwsClients {
  const settings = {
    retryMode: "adaptive",
    maxAttempts: options.maxAttempts ?? 8,
    requestHandler: { connectionTimeout: 3_000, requestTimeout: 30_000 },
    ...(options.endpoint === undefined ? {} : { endpoint: options.endpoint }),
    ...(options.credentials === undefined ? {} : { credentials: options.credentials }),
  };
  const made = new Map<string, AnyClient>();
  const once = <Client extends AnyClient>(name: string, make: () => Client): Client => {
    const known = made.get(name);
    if (known !== undefined) return known as Client;
    const client = make();
    options.configure?.(client);
    made.set(name, client);
    return client;
  };
  return {
    rds: (region = options.region) => once(`rds ${region}`, () => new RDSClient({ ...settings, region })),
    ssm: () => once("ssm", () => new SSMClient({ ...settings, region: options.region })),
    route53: () => once("route53", () => new Route53Client({ ...settings, region: options.region })),
    sns: () => once("sns", () => new SNSClient({ ...settings, region: options.region })),
    close() {
      for (const client of made.values()) client.destroy();
    },
  };
}
