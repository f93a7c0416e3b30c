/** File modes in words: S_IFREG|0644. */
import { S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK } from "../abi/stat.ts";

const TYPES: Readonly<Record<number, string>> = {
  [S_IFSOCK]: "S_IFSOCK",
  [S_IFLNK]: "S_IFLNK",
  [S_IFREG]: "S_IFREG",
  [S_IFBLK]: "S_IFBLK",
  [S_IFDIR]: "S_IFDIR",
  [S_IFCHR]: "S_IFCHR",
  [S_IFIFO]: "S_IFIFO",
};
const BITS: readonly [string, number][] = [
  ["S_ISUID", 0o4000],
  ["S_ISGID", 0o2000],
  ["S_ISVTX", 0o1000],
];

export function formatMode(mode: number): string {
  const parts: string[] = [];
  const type = TYPES[mode & S_IFMT];
  if (type !== undefined) parts.push(type);
  for (const [name, bit] of BITS) if (mode & bit) parts.push(name);
  parts.push(`0${(mode & 0o777).toString(8)}`);
  return parts.join("|");
}
