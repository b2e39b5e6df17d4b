import { z } from "zod";

/** Longest name that PostgreSQL keeps whole (NAMEDATALEN − 1), in bytes. */
export const identifierBytes = 63;

/** What a setting allows, in words, where its type alone does not say it. Error messages and the reference use it. */
export const allowedTexts = z.registry<{ text: string }>();

/** A text with a form of its own; `allowed` says in words which. */
export const form = (pattern: RegExp, allowed: string) =>
  z.string().max(200).regex(pattern).register(allowedTexts, { text: allowed });

export const databaseName = z
  .string()
  .min(1)
  .refine((name) => Buffer.byteLength(name) <= identifierBytes && !name.includes("\0"))
  .register(allowedTexts, { text: `a text of 1 to ${identifierBytes} bytes` });

/** Lower-case words joined by hyphens, as RDS identifiers must be. */
export const resourceName = z
  .string()
  .max(40)
  .regex(/^[a-z](?:-?[a-z0-9])*$/)
  .register(allowedTexts, {
    text: "at most 40 lower-case letters, digits and single hyphens, beginning with a letter",
  });

export const whole = (min: number, max?: number) => {
  const number = z.number().int().min(min);
  return max === undefined ? number : number.max(max);
};
export const seconds = (limits: { min: number; max: number }) => whole(limits.min, limits.max);
export const percent = z.number().min(0).max(100);
/** Five cron fields in `schedules.timeZone`, or `off`. */
export const cron = z
  .union([
    z.literal("off"),
    z
      .string()
      .max(200)
      .regex(/^\S+(?: \S+){4}$/),
  ])
  .register(allowedTexts, { text: 'five cron fields such as "*/5 * * * *", or off' });
export const cidr = z
  .string()
  .refine(isNetworkRange)
  .register(allowedTexts, { text: "an IPv4 range from /16 to /24 without host bits, such as 10.20.0.0/16" });

/** VPCs are /28 to /16; smaller than /24 leaves no room for a subnet of each kind in three zones. */
function isNetworkRange(text: string): boolean {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\/(\d{1,2})$/.exec(text);
  if (match === null) return false;
  const [a = 0, b = 0, c = 0, d = 0, bits = 0] = match.slice(1).map(Number);
  if ([a, b, c, d].some((octet) => octet > 255) || bits < 16 || bits > 24) return false;
  return (c * 256 + d) % 2 ** (32 - bits) === 0;
}

export const region = () => form(/^[a-z]{2}(?:-[a-z]+)+-\d$/, "a region such as eu-west-1");
export const keyArn = () =>
  form(
    /^arn:aws[\w-]*:kms:[a-z0-9-]+:\d{12}:key\/[\w-]+$/,
    "the ARN of a key, such as arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
  );
export const vpcId = () => form(/^vpc-[0-9a-f]{8,17}$/, "an id such as vpc-0123456789abcdef0");
export const subnetIds = () =>
  z.array(form(/^subnet-[0-9a-f]{8,17}$/, "an id such as subnet-0123456789abcdef0")).max(6);

export const timeOfDay = "(?:[01]\\d|2[0-3]):[0-5]\\d";
export const weekday = "(?:mon|tue|wed|thu|fri|sat|sun)";

const namePart = '(?:"(?:[^"]|"")+"|[A-Za-z_\\u0080-\\uffff][\\w$\\u0080-\\uffff]*)';
export const tableName = () =>
  form(
    new RegExp(`^${namePart}\\.${namePart}$`),
    'a table as in SQL, with its schema, such as "public.events"',
  );
