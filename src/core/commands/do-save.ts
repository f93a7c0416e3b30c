/** `runts do --save DIR`: an image is written whenever the program asks for it. */
import type { CommandContext } from "../command.ts";
import { describe, RuntimeError } from "../errors.ts";
import { saveImage } from "../image.ts";
import type { ContainerOptions, SandboxHandle } from "../sandbox.ts";

const EIO = 5;

export class Saver {
  /** The image that is being written. */
  private saving: Promise<void> | null = null;
  private asked = false;

  /** Begins to wait for the program to ask. */
  constructor(
    private readonly context: CommandContext,
    private readonly sandbox: SandboxHandle,
    private readonly container: ContainerOptions,
    private readonly directory: string,
  ) {
    void this.serve();
  }

  private wanted(): Promise<unknown> {
    return this.sandbox.request("checkpointWanted", { id: this.container.id });
  }

  private async serve(): Promise<void> {
    try {
      for (let wanted = this.wanted(); ; ) {
        await wanted;
        // Before the program is told of this one: it may ask again at once.
        wanted = this.wanted();
        wanted.catch(() => {});
        this.asked = true;
        this.saving = this.save();
        await this.saving;
        this.saving = null;
      }
    } catch (error) {
      // The program has ended, and with it the sandbox, or it cannot be saved at all.
      this.context.log.debug(describe(error));
    }
  }

  /** The program goes on meanwhile, but for who has asked: that one is told what became of it. */
  private async save(): Promise<void> {
    const { id, bundle, spec, overlay } = this.container;
    let errno = 0;
    try {
      await saveImage(this.context, {
        container: { id, bundle, spec, overlay },
        other: (other) => {
          throw new RuntimeError("sandbox", `a sandbox of "do" has another container: ${other}`);
        },
        sandbox: this.sandbox,
        directory: this.directory,
        leaveRunning: true,
        compression: "none",
        // That of a `do` before this one, too: each has another id.
        replace: true,
      });
    } catch (error) {
      errno = EIO;
      this.context.log.warn(describe(error));
    }
    await this.sandbox.request("checkpointed", { id, keep: true, ...(errno === 0 ? {} : { errno }) });
  }

  /** The program has ended: an image that is being written is still finished. */
  async finish(): Promise<void> {
    await this.saving?.catch(() => {});
    if (!this.asked) this.context.log.warn("the program has not asked to be saved: no image was written");
  }
}
