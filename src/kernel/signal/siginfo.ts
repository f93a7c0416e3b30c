/**
 * siginfo_t as bytes: 128 of them, laid out by signal and code.
 *
 * Source: sigaction(2). Gaps: si_addr_lsb, si_pkey and si_lower/si_upper are zero.
 */
import { setU64 } from "../mm/mm.ts";
import {
  SI_KERNEL,
  SI_SIGIO,
  SI_USER,
  SIGBUS,
  SIGCHLD,
  SIGFPE,
  SIGILL,
  SIGIO,
  SIGSEGV,
  SIGSYS,
  SIGTRAP,
} from "./numbers.ts";
import type { SigInfo } from "./task-signals.ts";

export const SIGINFO_SIZE = 128;

/** Writes all 128 bytes at `at`. */
export function encodeSigInfo(view: DataView, at: number, info: SigInfo): void {
  for (let i = 0; i < SIGINFO_SIZE; i += 4) view.setUint32(at + i, 0, true);
  view.setInt32(at, info.signo, true);
  view.setInt32(at + 4, info.errno, true);
  view.setInt32(at + 8, info.code, true);
  const { signo, code } = info;
  const own = code > SI_USER && code < SI_KERNEL;
  if (own && (signo === SIGSEGV || signo === SIGBUS || signo === SIGILL || signo === SIGFPE || signo === SIGTRAP)) {
    setU64(view, at + 16, info.addr ?? 0);
  } else if (own && signo === SIGCHLD) {
    view.setInt32(at + 16, info.pid ?? 0, true);
    view.setUint32(at + 20, info.uid ?? 0, true);
    view.setInt32(at + 24, info.status ?? 0, true);
    setU64(view, at + 32, info.utime ?? 0);
    setU64(view, at + 40, info.stime ?? 0);
  } else if (own && signo === SIGSYS) {
    setU64(view, at + 16, info.callAddr ?? 0);
    view.setInt32(at + 24, info.syscall ?? 0, true);
    view.setUint32(at + 28, info.arch ?? 0, true);
  } else if ((own && signo === SIGIO) || code === SI_SIGIO || (own && code <= 6 && info.band !== undefined)) {
    setU64(view, at + 16, info.band ?? 0);
    view.setInt32(at + 24, info.fd ?? 0, true);
  } else {
    // SI_USER, SI_QUEUE and kin; SI_TIMER keeps its timer id and overrun in the same places.
    view.setInt32(at + 16, info.timerId ?? info.pid ?? 0, true);
    view.setUint32(at + 20, info.overrun ?? info.uid ?? 0, true);
    view.setUint32(at + 24, info.valueLo ?? 0, true);
    view.setUint32(at + 28, info.valueHi ?? 0, true);
  }
}

/** Reads what rt_sigqueueinfo was given: the sender's words, laid out as SI_QUEUE. */
export function decodeSigInfo(view: DataView, at: number): SigInfo {
  return {
    signo: view.getInt32(at, true),
    errno: view.getInt32(at + 4, true),
    code: view.getInt32(at + 8, true),
    pid: view.getInt32(at + 16, true),
    uid: view.getUint32(at + 20, true),
    valueLo: view.getUint32(at + 24, true),
    valueHi: view.getUint32(at + 28, true),
  };
}
