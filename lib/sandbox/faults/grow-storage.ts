import { storageBytes } from "../../alarms/alarm.ts";
import { bytesText } from "../../words.ts";
import { ballastBytes, makeBallast, removeBallast } from "./ballast.ts";
import { type Fault, storageOf } from "./fault.ts";
import { fileInDatabase } from "./outgrow-storage.ts";
import { restorePastDays, rewritePastDays } from "./past-days.ts";

const name = "grow-storage";

/** Of the allocated storage: no alarm says yet that it is full. */
const share = 0.88;
const daysOfGrowth = 6;

export const growStorage: Fault = {
  name,
  alarms: ["storage-forecast"],
  summary:
    "let the database show 88 % of database.storageGigabytes, and let pgkeep's history say that it grew there in six days: at that rate it is at its largest within a month (it takes no room on this machine)",
  apply: async (context) => {
    const { state } = context;
    const file = await fileInDatabase(state, name);
    const present = await ballastBytes(file);
    if (present !== undefined) {
      const message = `the database has grown by ${bytesText(present)} already`;
      return { outcome: "already-applied", message, details: { file, bytes: present } };
    }
    const bytes = Math.floor(storageBytes(storageOf(context).storageGigabytes) * share);
    await rewritePastDays(state, name, (daysAgo, { databaseBytes }) => ({
      databaseBytes: databaseBytes + (bytes * (daysOfGrowth - daysAgo)) / daysOfGrowth,
    }));
    await makeBallast(state, file, bytes);
    return {
      outcome: "applied",
      message: `the database shows ${bytesText(bytes)} more than six days ago`,
      details: { file, bytes },
    };
  },
  repair: async ({ state }) => {
    const file = await fileInDatabase(state, name);
    const removed = await removeBallast(file);
    const restored = await restorePastDays(state, name);
    return removed || restored
      ? {
          outcome: "repaired",
          message: "the database shows its own size and history again",
          details: { file },
        }
      : { outcome: "not-applied", message: "the database was not made to grow", details: { file } };
  },
};
