import { z } from "zod";
import { whole } from "./forms.ts";

export const account = z
  .strictObject({
    manualSnapshotsPerRegion: whole(1, 100_000)
      .default(100)
      .describe(
        "The account's quota of manual snapshots in a region, for instances and for clusters each; raise it here once AWS has raised it",
      ),
  })
  .meta({ id: "account", description: "Quotas of the AWS account" });
