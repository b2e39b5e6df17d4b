import { PgkeepError } from "../errors.ts";
import type { RoutedReplica, RoutingDocument } from "../ports/routing.ts";
import { documentAge } from "../routing/document.ts";
import { bytesText, durationText } from "../words.ts";
import type { Cli, GlobalOptions, Register } from "./cli.ts";
import { onOption } from "./options.ts";

/** The published routing document, how old it is, and whether a reader should still trust it. */
export interface ShownRouting extends RoutingDocument {
  ageSeconds: number;
  stale: boolean;
}

/** @throws PgkeepError `not-found` when nothing has been published yet, `refused` when the target has no routing */
export async function showRouting(cli: Pick<Cli, "open">, options: GlobalOptions): Promise<ShownRouting> {
  const environment = await cli.open(options);
  try {
    const { routing, clock } = environment.ports;
    if (routing === undefined) {
      throw new PgkeepError("refused", `${environment.description} has no routing document`, {
        remedy: "leave --url away to ask the running sandbox, or give --on aws",
      });
    }
    const document = await routing.read();
    if (document === undefined) {
      throw new PgkeepError(
        "not-found",
        `no routing document has been published for ${environment.description}`,
        {
          remedy:
            options.on === "aws"
              ? "run `pgkeep run route-replicas --on aws` to publish the first one"
              : options.url === undefined
                ? "run `pgkeep run route-replicas` to publish the first one"
                : "`pgkeep run route-replicas --url …` reports the document that it decides; it is kept in a sandbox only",
        },
      );
    }
    return { ...document, ...documentAge(document, clock.now()) };
  } finally {
    await environment.close();
  }
}

/** The document as text for people. */
export function routingText(document: ShownRouting, cli: Pick<Cli, "table">): string {
  const { primary, ageSeconds, stale } = document;
  const head = ["server", "state", "lag", "weight", "since", "endpoint", "reason"];
  const place = (server: { endpoint: { host: string; port: number }; via: string }) =>
    `${server.endpoint.host}:${server.endpoint.port}${server.via === "pooler" ? " (pooler)" : ""}`;
  const rows = [
    [
      "primary",
      primary.reachable ? (primary.servesReads ? "serves reads" : "no reads") : "unreachable",
      "",
      "",
      "",
      place(primary),
      primary.reason,
    ],
    ...document.replicas.map((replica) => [
      replica.name,
      replica.state,
      lagText(replica),
      `${replica.weight} %`,
      replica.since.replace(/\.\d+Z$/, "Z"),
      place(replica),
      replica.reason,
    ]),
  ];
  const age = `published ${durationText(ageSeconds)} ago`;
  const trust = stale
    ? `STALE: ${age}, and good for ${durationText(document.validForSeconds)} only: route-replicas is not running`
    : `${age}, good for ${durationText(document.validForSeconds)}`;
  return [
    `${document.database}: ${document.reason}`,
    `version ${document.version}, ${trust}`,
    "",
    cli.table(head, rows),
  ].join("\n");
}

function lagText(replica: RoutedReplica): string {
  if (replica.lagBytes === null) return "unknown";
  if (replica.lagBytes === 0) return "none";
  const seconds = replica.lagSeconds === null ? "" : `, ${durationText(replica.lagSeconds)}`;
  return `${bytesText(replica.lagBytes)}${seconds}`;
}

export const registerRouting: Register = (program, cli) => {
  const routing = program.command("routing").description("Which servers may serve reads");
  routing
    .command("show")
    .description("the published routing document: state, lag and weight of every server, and why")
    .addOption(onOption())
    .action(async (_options, command) => {
      const options = command.optsWithGlobals() as GlobalOptions;
      const shown = await showRouting(cli, options);
      if (options.json === true) cli.json(shown);
      else cli.out(routingText(shown, cli));
    });
};
