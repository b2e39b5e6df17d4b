import { z } from "zod";
import { allowedTexts } from "./forms.ts";

const emailAddress = z.email().register(allowedTexts, { text: "an e-mail address" });

export const notifications = z
  .strictObject({
    page: z.array(emailAddress).max(10).default([]).describe("Who is woken"),
    ticket: z.array(emailAddress).max(10).default([]).describe("Who is told in office hours"),
  })
  .meta({ id: "notifications", description: "Who is told by e-mail" });
