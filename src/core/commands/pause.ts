/** `runts pause ID` and `runts resume ID`. */
import { command } from "../command.ts";

export const pause = command({
  name: "pause",
  summary: "stop a container's processes",
  args: "<container-id>",
  async run(context, _flags, [id]) {
    await (await context.containers()).pause(id!);
  },
});

export const resume = command({
  name: "resume",
  summary: "let a paused container go on",
  args: "<container-id>",
  async run(context, _flags, [id]) {
    await (await context.containers()).resume(id!);
  },
});
