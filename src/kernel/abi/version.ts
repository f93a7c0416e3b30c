/** What the kernel calls itself: uname(2), /proc/version, /proc/sys/kernel. Programs switch features by the release. */
export const KERNEL_NAME = "Linux";
export const KERNEL_RELEASE = "6.18.0-runts";
export const KERNEL_VERSION = "#1 SMP PREEMPT_DYNAMIC";
export const KERNEL_MACHINE = "x86_64";
