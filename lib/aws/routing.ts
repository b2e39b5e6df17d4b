import {
  DeleteParametersCommand,
  GetParameterCommand,
  GetParametersCommand,
  type Parameter,
  PutParameterCommand,
  paginateGetParametersByPath,
  type SSMClient,
} from "@aws-sdk/client-ssm";
import { PgkeepError } from "../errors.ts";
import type { Routing, RoutingDocument } from "../ports/routing.ts";
import { parseRoutingDocument, requireNextVersion } from "../routing/document.ts";
import type { AwsClients } from "./clients.ts";
import { publishDns } from "./dns.ts";
import { calling, isNamed } from "./errors.ts";
import type { PlatformResources } from "./resources.ts";

/** Versions that stay; a publisher that slept through as many publications is told apart by that distance. */
const keptVersions = 20;
/** How many names one call of `GetParameters` and `DeleteParameters` takes. */
const batch = 10;
/** What an advanced parameter holds; the standard tier holds half, and Intelligent-Tiering takes the cheaper that fits. */
const maxBytes = 8_192;

type Numbered = { version: number; text: string };

/**
 * The routing document as an SSM parameter. SSM cannot compare and swap, but only one of many can create a name:
 * each version is created once as `<name>/versions/<number>`, and the highest number is the truth. `<name>` itself
 * is the copy that applications read. After it, the readers' DNS records follow.
 */
export function ssmRouting(clients: AwsClients, resources: PlatformResources): Routing {
  const store = versionStore(clients.ssm(), resources.routingParameterName);
  return {
    async read() {
      const newest = await store.newest();
      return newest === undefined
        ? undefined
        : parseRoutingDocument(newest.text, store.nameOf(newest.version));
    },
    async publish(document, expectedVersion) {
      requireNextVersion(document, expectedVersion);
      const text = textOf(document);
      if ((await store.newest())?.version !== expectedVersion) return false;
      if (!(await store.claim(document.version, text))) return false;
      const newest = (await store.newest())?.version ?? document.version;
      if (newest - document.version >= keptVersions) {
        await store.forget([document.version]);
        return false;
      }
      await store.showNewest();
      // Two for the one that comes: a run that was killed here has left its own.
      await store.forget([0, 1].map((more) => document.version - keptVersions - more));
      if (resources.readerDns !== undefined) {
        await publishDns(clients.route53(), resources.readerDns, document);
      }
      return true;
    },
  };
}

function textOf(document: RoutingDocument): string {
  const text = JSON.stringify(document);
  const bytes = Buffer.byteLength(text);
  if (bytes <= maxBytes) return text;
  throw new PgkeepError(
    "refused",
    `the routing document of ${document.database} has ${bytes} bytes, and an SSM parameter holds ${maxBytes}`,
    { remedy: "use fewer replicas, or shorter names for them" },
  );
}

function versionStore(client: SSMClient, name: string) {
  const path = `${name}/versions`;
  const nameOf = (version: number) => `${path}/${String(version).padStart(10, "0")}`;

  /** The versions that exist among these, by one call. */
  const existing = async (versions: number[]): Promise<Numbered[]> => {
    const { Parameters = [] } = await client.send(new GetParametersCommand({ Names: versions.map(nameOf) }));
    return Parameters.map(numbered);
  };
  /** What the parameter itself shows, which may be older than the newest version. */
  const shown = async (): Promise<Numbered | undefined> => {
    try {
      const { Parameter } = await client.send(new GetParameterCommand({ Name: name }));
      const text = Parameter?.Value ?? "";
      return { version: parseRoutingDocument(text, name).version, text };
    } catch (error) {
      if (isNamed(error, "ParameterNotFound")) return undefined;
      throw error;
    }
  };
  /** Without the parameter to begin with, by looking through all versions. */
  const searched = async (): Promise<Numbered | undefined> => {
    let newest: Numbered | undefined;
    for await (const page of paginateGetParametersByPath({ client, pageSize: batch }, { Path: path })) {
      for (const candidate of (page.Parameters ?? []).map(numbered)) {
        if (newest === undefined || candidate.version > newest.version) newest = candidate;
      }
    }
    return newest;
  };
  const newest = async (): Promise<Numbered | undefined> => {
    let known = (await shown()) ?? (await searched());
    while (known !== undefined) {
      const from = known.version + 1;
      const later = await existing(Array.from({ length: batch }, (_, offset) => from + offset));
      if (later.length === 0) return known;
      known = later.reduce((a, b) => (a.version > b.version ? a : b));
    }
    return undefined;
  };
  const put = (parameter: string, text: string, overwrite: boolean) =>
    client.send(
      new PutParameterCommand({
        Name: parameter,
        Value: text,
        Type: "String",
        Overwrite: overwrite,
        Tier: "Intelligent-Tiering",
      }),
    );

  return {
    nameOf,
    newest: () => calling(`read the routing document ${name}`, newest),
    /** False when the version exists already. */
    claim: (version: number, text: string) =>
      calling(`publish version ${version} of ${name}`, async () => {
        try {
          await put(nameOf(version), text, false);
          return true;
        } catch (error) {
          if (isNamed(error, "ParameterAlreadyExists")) return false;
          throw error;
        }
      }),
    /** Puts the newest version in `name`; again when a newer one appeared, which ours may have covered. */
    showNewest: () =>
      calling(`publish ${name}`, async () => {
        let last: number | undefined;
        for (;;) {
          const next = await newest();
          if (next === undefined || next.version === last) return;
          await put(name, next.text, true);
          last = next.version;
        }
      }),
    forget: (versions: number[]) =>
      calling(`delete old versions of ${name}`, async () => {
        const names = versions.filter((version) => version > 0).map(nameOf);
        if (names.length > 0) await client.send(new DeleteParametersCommand({ Names: names }));
      }),
  };
}

function numbered({ Name, Value }: Parameter): Numbered {
  return { version: Number.parseInt(Name?.split("/").at(-1) ?? "", 10), text: Value ?? "" };
}
