import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Stage } from "aws-cdk-lib";
import { DockerImageAsset, Platform } from "aws-cdk-lib/aws-ecr-assets";
import type { Construct } from "constructs";
import { packageRoot } from "../package-root.ts";
import { bundleSource, sourceExtension } from "./bundle.ts";

/**
 * Writes what the image is built from: the whole command line as one file, its data files, and docker/Dockerfile.
 * The same sources give the same files, byte for byte.
 */
export function bundleTaskImage(directory: string): void {
  mkdirSync(directory, { recursive: true });
  bundleSource(`import "./bin/task.${sourceExtension}";`, directory);
  const { version } = JSON.parse(readFileSync(join(packageRoot, "package.json"), "utf8")) as {
    version: string;
  };
  writeFileSync(
    join(directory, "package.json"),
    `${JSON.stringify({ name: "pgkeep", version, type: "module" })}\n`,
  );
  copyFileSync(join(packageRoot, "docker", "Dockerfile"), join(directory, "Dockerfile"));
}

/** The image of tasks: pgkeep with PostgreSQL's programs of one major version. Built when it is deployed. */
export function taskImage(scope: Construct, id: string, postgresMajor: number): DockerImageAsset {
  const directory = join(Stage.of(scope)?.outdir ?? "cdk.out", "pgkeep-task-image");
  bundleTaskImage(directory);
  return new DockerImageAsset(scope, id, {
    directory,
    buildArgs: { POSTGRES_MAJOR: String(postgresMajor) },
    platform: Platform.LINUX_AMD64,
  });
}
