/** Where a sparse file has data. Source: lseek(2), SEEK_DATA and SEEK_HOLE. */
import { lseek } from "./host.ts";

const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const ENXIO = 6;

/** [start, end) of what a file holds between two offsets: all of it where its file system knows of no holes. */
export function* dataExtents(fd: number, from: number, to: number): Generator<[number, number]> {
  for (let at = from; at < to; ) {
    const data = lseek(fd, at, SEEK_DATA);
    if (data === -ENXIO) return;
    const start = data < 0 ? at : data;
    if (start >= to) return;
    const hole = data < 0 ? to : lseek(fd, start, SEEK_HOLE);
    const end = Math.min(to, hole < 0 ? to : hole);
    yield [start, end];
    at = end;
  }
}
