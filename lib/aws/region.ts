import { errorMessage, PgkeepError } from "../errors.ts";

/** The region that the SDK finds for a client. @throws PgkeepError `configuration` when none is set */
export async function regionOf(
  client: { config: { region(): Promise<string> } },
  what = "the deployment",
): Promise<string> {
  try {
    return await client.config.region();
  } catch (error) {
    throw new PgkeepError("configuration", `the AWS region is not known: ${errorMessage(error)}`, {
      remedy: `set AWS_REGION to the region of ${what}, or give the profile of AWS_PROFILE a region`,
      cause: error,
    });
  }
}
