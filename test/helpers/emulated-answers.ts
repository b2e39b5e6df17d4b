/** What an emulator does not know by itself, put into its answers. */
export interface EmulatedAnswers {
  /** Moments that can be restored to. */
  window: { earliest: Date; latest: Date };
  /** Status of a snapshot by `<region>/<id>`, until it is deleted. */
  statuses: Map<string, string>;
  /** When a snapshot was taken, by its id. */
  times: Map<string, Date>;
}

export function emulatedAnswers(): EmulatedAnswers {
  return {
    window: { earliest: new Date("2026-01-01T00:00:00Z"), latest: new Date(Date.now() + 86_400_000) },
    statuses: new Map(),
    times: new Map(),
  };
}

type Handler = (args: { input: Record<string, unknown> }) => Promise<{ output: Record<string, unknown> }>;

interface Changeable {
  middlewareStack: {
    add(
      middleware: (next: Handler, context: { commandName?: string }) => Handler,
      options: { step: "initialize"; name: string },
    ): void;
  };
  config: { region: () => Promise<string> };
}

/** Makes a client see the emulator's answers with these changes. */
export function changeAnswers(given: unknown, answers: EmulatedAnswers): void {
  const client = given as Changeable;
  client.middlewareStack.add(
    (next, { commandName = "" }) =>
      async (args) => {
        // RDS's API reference has it for Multi-AZ DB clusters, and the emulator refuses it there.
        const { EnableIAMDatabaseAuthentication: _, ...accepted } = args.input;
        const result = await next(
          commandName.includes("RestoreDBCluster") ? { ...args, input: accepted } : args,
        );
        const { output } = result;
        if (commandName === "DescribeDBInstanceAutomatedBackupsCommand") {
          const { earliest: EarliestTime, latest: LatestTime } = answers.window;
          output.DBInstanceAutomatedBackups = [
            { Status: "active", RestoreWindow: { EarliestTime, LatestTime } },
          ];
        }
        for (const cluster of (output.DBClusters ?? []) as Record<string, unknown>[]) {
          cluster.EarliestRestorableTime = answers.window.earliest;
          cluster.LatestRestorableTime = answers.window.latest;
        }
        const region = await client.config.region();
        const deleted = commandName.startsWith("Delete")
          ? (output.DBSnapshot ?? output.DBClusterSnapshot)
          : undefined;
        if (deleted !== undefined) {
          const { DBSnapshotIdentifier, DBClusterSnapshotIdentifier } = deleted as Record<string, string>;
          answers.statuses.delete(`${region}/${DBSnapshotIdentifier ?? DBClusterSnapshotIdentifier}`);
        }
        for (const kind of ["DBSnapshot", "DBClusterSnapshot"] as const) {
          const alone = output[kind] === undefined ? [] : [output[kind]];
          for (const snapshot of [...((output[`${kind}s`] ?? []) as unknown[]), ...alone]) {
            changeSnapshot(snapshot as Record<string, unknown>, `${kind}Identifier`, region, answers);
          }
        }
        return result;
      },
    { step: "initialize", name: "changeAnswers" },
  );
}

function changeSnapshot(
  snapshot: Record<string, unknown>,
  identifier: string,
  region: string,
  { statuses, times }: EmulatedAnswers,
): void {
  const id = String(snapshot[identifier]);
  snapshot.Status = statuses.get(`${region}/${id}`) ?? snapshot.Status;
  const time = times.get(id);
  if (time === undefined) return;
  snapshot.SnapshotCreateTime = time;
  snapshot.OriginalSnapshotCreateTime = time;
}
