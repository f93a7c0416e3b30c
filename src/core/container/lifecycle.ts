import type { CommandContext } from "../command.ts";
export class Containers {
  constructor(readonly context: CommandContext) {}
}
