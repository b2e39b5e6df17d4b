import { Aws } from "aws-cdk-lib";
import { describe, expect, it } from "vitest";
import { regionsWithCertificates } from "../../lib/aws/certificate-regions.ts";
import { assertCertificates } from "../../lib/constructs/certificates.ts";

describe("the certificate authorities that ship", () => {
  it("are those of exactly the regions that the documentation lists", () => {
    expect(regionsWithCertificates()).toEqual([
      "af-south-1",
      "ap-east-1",
      "ap-northeast-1",
      "ap-northeast-2",
      "ap-northeast-3",
      "ap-south-1",
      "ap-south-2",
      "ap-southeast-1",
      "ap-southeast-2",
      "ap-southeast-3",
      "ap-southeast-4",
      "ca-central-1",
      "eu-central-1",
      "eu-central-2",
      "eu-north-1",
      "eu-south-1",
      "eu-south-2",
      "eu-west-1",
      "eu-west-2",
      "eu-west-3",
      "me-central-1",
      "me-south-1",
      "sa-east-1",
      "us-east-1",
      "us-east-2",
      "us-west-1",
      "us-west-2",
    ]);
  });

  it.each(["il-central-1", "ca-west-1", "mx-central-1", "us-gov-west-1", "cn-north-1"])(
    "do not cover %s, and synthesis says so",
    (region) => {
      expect(() => assertCertificates(region)).toThrow(
        expect.objectContaining({
          code: "configuration",
          message: expect.stringMatching(new RegExp(`^account.region: .*${region}`)),
          remedy: expect.stringContaining("truststore.pki.rds.amazonaws.com"),
        }),
      );
    },
  );

  it("let a region pass that is covered, or not known yet", () => {
    expect(() => assertCertificates("eu-west-1")).not.toThrow();
    expect(() => assertCertificates(Aws.REGION)).not.toThrow();
  });
});
