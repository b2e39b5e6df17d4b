import { type Command, Option } from "commander";
import { UsageError } from "../errors.ts";

/** Reads a whole number, for commander. */
export function wholeNumber(minimum: number, maximum: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < minimum || value > maximum) {
      throw new UsageError(`${JSON.stringify(text)} is not a whole number from ${minimum} to ${maximum}`);
    }
    return value;
  };
}

/** Gathers the values of an option that may be given several times. */
export function several(value: string, previous: string[] | undefined): string[] {
  return [...(previous ?? []), value];
}

/** For commands that can work with what is deployed. */
export function onOption(): Option {
  return new Option(
    "--on <place>",
    "work with what is deployed, with your own AWS credentials and region (AWS_PROFILE, AWS_REGION)",
  ).choices(["aws"]);
}

/** Adds what every command understands to the root. */
export function addGlobalOptions(program: Command): Command {
  return program
    .option("--config <file>", "configuration file (default: pgkeep.yaml)")
    .option("--database <name>", "which database of the file, when it has several")
    .option(
      "--url <url>",
      "any PostgreSQL 14-18: postgres://… (default: DATABASE_URL, else the running sandbox)",
    )
    .option("--replica <url>", "a read replica of the database given by --url; may be repeated", several)
    .option("--json", "print one JSON document on standard output and nothing else");
}
