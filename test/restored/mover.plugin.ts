/**
 * A plugin of the tests: has the sandbox saved at the k-th system call of its guests, whatever the time is.
 *
 * Calls are counted as they arrive, those of all threads together. At the k-th the kernel serves nothing but the control
 * connection until the command has asked for the save; then it serves that call, and what comes next is the save: so other
 * threads run guest code, wait, or stand at calls of theirs that nobody has looked at. With the image written the sandbox ends.
 * `again`: a restored sandbox is saved when it is to go on, and nothing of it has gone on.
 */
import { definePlugin, v } from "runts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import type { Slice } from "../../src/kernel/slice.ts";

/** How long the command may take to ask. */
const ASK_MS = 20_000;
const nothing = () => {};

/** What the plugin reaches of classes that are not made for it. */
interface Inner {
  /** Guests served since a chore had its turn; with a large number the next turn is a chore's. */
  served: number;
}
interface Saving {
  leaveRunning: boolean;
}

export default definePlugin({
  name: "mover",
  options: v.object({ at: v.optional(v.number(), 0), again: v.optional(v.boolean(), false) }),
  sandbox(api, { at, again }) {
    const kernel = api.internals as Kernel;
    let calls = 0;
    kernel.tracer = {
      onCall() {
        if (++calls === at) save(kernel);
      },
      onResult: nothing,
      onBlocked: nothing,
      onSignal: nothing,
      onStopped: nothing,
      onExit: nothing,
    } as unknown as Kernel["tracer"];
    api.on("exit", ({ pid }) => {
      if (pid === 1) api.log.warn(`${calls} calls`);
    });
    endWhenSaved(kernel);
    if (again) standStill(kernel);
  },
});

function endWhenSaved(kernel: Kernel): void {
  // Not its own property, which would be saved.
  const itsClass = Object.getPrototypeOf(kernel.savePoint) as Kernel["savePoint"];
  const { over } = itsClass;
  itsClass.over = function (state, errno = 0) {
    over.call(this, state, errno);
    if (state === "resumed" && errno === 0) kernel.stop();
  };
}

/** No guest is served, and no timer: nothing but requests, and the save that is asked for when the container is started. */
function standStill(kernel: Kernel): void {
  const itsClass = Object.getPrototypeOf(kernel) as Pick<Kernel, "takeBack"> & { turn(): void };
  itsClass.takeBack = ({ id }) => ask(kernel, id);
  itsClass.turn = () => {
    kernel.poller.wait(10);
    if (kernel.chores[0]?.step({ over: false } as Slice)) kernel.chores.shift();
  };
}

function ask(kernel: Kernel, container: string): void {
  const { listener } = kernel.savePoint;
  if (listener === null) throw new Error("nobody would save it");
  listener(container);
}

function save(kernel: Kernel): void {
  const [container] = kernel.containers.keys();
  ask(kernel, container!);
  for (const end = Date.now() + ASK_MS; kernel.chores.length === 0; kernel.poller.wait(10))
    if (Date.now() > end) throw new Error("nobody has asked for the save");
  // The guests do not go on.
  (kernel.chores.at(-1) as unknown as Saving).leaveRunning = false;
  (kernel as unknown as Inner).served = Number.MAX_SAFE_INTEGER;
}
