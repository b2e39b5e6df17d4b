import { z } from "zod";
import { region, whole } from "./forms.ts";

export const account = z
  .strictObject({
    region: region()
      .optional()
      .describe(
        "The region that is deployed to; by default that of the caller's credentials. Needed for what stands in two regions",
      ),
    manualSnapshotsPerRegion: whole(1, 100_000)
      .default(100)
      .describe(
        "The account's quota of manual snapshots in a region, for instances and for clusters each; raise it here once AWS has raised it",
      ),
  })
  .meta({ id: "account", description: "The AWS account: its region and quotas" });
