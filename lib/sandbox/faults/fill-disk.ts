import { storageBytes } from "../../alarms/alarm.ts";
import { bytesText } from "../../words.ts";
import { ballastFile } from "../measures/storage.ts";
import { ballastBytes, makeBallast, removeBallast } from "./ballast.ts";
import { type Fault, storageOf } from "./fault.ts";

/** Left free of the allocated storage: less than any limit of the alarm but the smallest. */
const freeShare = 0.02;

export const fillDisk: Fault = {
  name: "fill-disk",
  alarms: ["free-storage"],
  summary:
    "put a file beside the primary's data that shows nearly all of database.storageGigabytes: as far as sizes tell, the disk is full (it takes no room on this machine, and no backup has it)",
  apply: async (context) => {
    const { state } = context;
    const file = ballastFile(state.primary);
    const present = await ballastBytes(file);
    if (present !== undefined) {
      const message = `${file} shows ${bytesText(present)} already`;
      return { outcome: "already-applied", message, details: { file, bytes: present } };
    }
    const bytes = Math.floor(storageBytes(storageOf(context).storageGigabytes) * (1 - freeShare));
    await makeBallast(state, file, bytes);
    return {
      outcome: "applied",
      message: `${file} shows ${bytesText(bytes)}: next to nothing of the primary's storage is free`,
      details: { file, bytes },
    };
  },
  repair: async ({ state }) => {
    const file = ballastFile(state.primary);
    return (await removeBallast(file))
      ? { outcome: "repaired", message: `${file} was removed`, details: { file } }
      : { outcome: "not-applied", message: `there is no ${file}`, details: { file } };
  },
};
