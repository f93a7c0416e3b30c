/** arch_prctl: the segment bases of a thread. Manual page: arch_prctl(2). Gap: no shadow stacks, no dynamic XSAVE features. */
import { EFAULT, EINVAL, ENODEV, EPERM } from "../abi/errno.ts";
import { addr, oneOf } from "../args.ts";
import { syscall } from "../syscall.ts";

const CODES = {
  ARCH_SET_GS: 0x1001,
  ARCH_SET_FS: 0x1002,
  ARCH_GET_FS: 0x1003,
  ARCH_GET_GS: 0x1004,
  ARCH_GET_CPUID: 0x1011,
  ARCH_SET_CPUID: 0x1012,
} as const;

export const arch_prctl = syscall("arch_prctl", { code: oneOf(CODES), addr }, (task, { code, addr }) => {
  const ctx = task.ctx!;
  switch (code) {
    case CODES.ARCH_SET_FS:
      return addr >= 0x7ffffffff000 ? -EPERM : ctx.setFsBase(addr);
    case CODES.ARCH_SET_GS:
      return addr >= 0x7ffffffff000 ? -EPERM : ctx.setGsBase(addr);
    case CODES.ARCH_GET_FS:
      return task.mm.writeU64(addr, ctx.getFsBase()) < 0 ? -EFAULT : 0;
    case CODES.ARCH_GET_GS:
      return task.mm.writeU64(addr, ctx.getGsBase()) < 0 ? -EFAULT : 0;
    case CODES.ARCH_GET_CPUID:
      return 1;
    case CODES.ARCH_SET_CPUID:
      return -ENODEV;
    default:
      return -EINVAL;
  }
});
