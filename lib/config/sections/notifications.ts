import { z } from "zod";
import { allowedTexts } from "./forms.ts";

const emailAddress = z.email().register(allowedTexts, { text: "an e-mail address" });

export const notifications = z
  .strictObject({
    page: z.array(emailAddress).max(10).default([]).describe("Who is woken"),
    ticket: z.array(emailAddress).max(10).default([]).describe("Who is told in office hours"),
    enriched: z
      .boolean()
      .default(true)
      .describe(
        "On AWS, alarms go through a function that looks at the database and says who or what causes them; false sends them as CloudWatch writes them",
      ),
  })
  .meta({ id: "notifications", description: "Who is told by e-mail" });
