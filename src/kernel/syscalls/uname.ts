/** uname: what the system calls itself. Manual page: uname(2). Gap: personality UNAME26 has no effect. */
import { encodeName } from "../abi/bytes.ts";
import { KERNEL_MACHINE, KERNEL_NAME, KERNEL_RELEASE, KERNEL_VERSION } from "../abi/version.ts";
import { outStruct } from "../args.ts";
import { syscall } from "../syscall.ts";

/** Each field of struct utsname, with its NUL. */
const FIELD = 65;

export const uname = syscall("uname", { buf: outStruct() }, (task, call) => {
  const { hostname, domainname } = task.container.uts;
  const bytes = new Uint8Array(6 * FIELD);
  [KERNEL_NAME, hostname, KERNEL_RELEASE, KERNEL_VERSION, KERNEL_MACHINE, domainname].forEach((text, i) => {
    bytes.set(encodeName(text).subarray(0, FIELD - 1), i * FIELD);
  });
  return task.mm.writeBytes(call.buf, bytes);
});
