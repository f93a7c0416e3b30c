/** `runts start ID`. */
import { command } from "../command.ts";

export default command({
  name: "start",
  summary: "let a created container's program run",
  args: "<container-id>",
  async run(context, _flags, [id]) {
    await (await context.containers()).start(id!);
  },
});
