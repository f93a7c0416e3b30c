/** exit, exit_group. Manual pages: exit(2), exit_group(2). */
import { int } from "../args.ts";
import { NO_RETURN, syscall } from "../syscall.ts";
import { exitedStatus, exitGroup, exitTask } from "../task/exit.ts";

export const exit = syscall("exit", { status: int }, (task, { status }) => {
  exitTask(task, exitedStatus(status));
  return NO_RETURN;
});

export const exit_group = syscall("exit_group", { status: int }, (task, { status }) => {
  exitGroup(task, exitedStatus(status));
  return NO_RETURN;
});
