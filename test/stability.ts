/**
 * Are the guest programs fit to be an oracle? Runs each many times on the host, some at once, and names every one whose
 * output is not the same each time.
 *
 *   bun test/stability.ts [--runs N] [--jobs N] [name…]
 */
import { compileGuest, guestNames } from "./guest.ts";
import { unifiedDiff } from "./harness/diff.ts";
import { run } from "./harness/process.ts";
import { matches } from "./harness/suite.ts";

const args = process.argv.slice(2);
const option = (name: string, otherwise: number): number => {
  const at = args.indexOf(name);
  return at < 0 ? otherwise : Number(args.splice(at, 2)[1]);
};
const runs = option("--runs", 20);
const jobs = option("--jobs", 2);

let bad = 0;
let slowest = 0;
const queue = guestNames().filter((name) => matches(name, args));
const all = queue.length;
async function worker(): Promise<void> {
  for (let name = queue.shift(); name; name = queue.shift()) {
    const program = await compileGuest(name);
    const first = await run([program], { timeoutMs: 20_000 });
    slowest = Math.max(slowest, first.ms);
    if (first.ms > 3000) console.log(`${name}: slow, ${(first.ms / 1000).toFixed(1)} s`);
    if (first.timedOut || first.status !== 0) {
      console.log(`${name}: ${first.timedOut ? "no end" : `status ${first.status}`}\n${first.stderr}`);
      bad++;
      continue;
    }
    for (let i = 1; i < runs; i++) {
      const again = await run([program], { timeoutMs: 20_000 });
      if (again.stdout === first.stdout && again.status === first.status) continue;
      console.log(`${name}: run ${i + 1} differs, status ${again.status}\n${unifiedDiff(first.stdout, again.stdout)}`);
      bad++;
      break;
    }
  }
}
await Promise.all(Array.from({ length: jobs }, worker));
console.log(`${all - bad} of ${all} stable over ${runs} runs; slowest ${(slowest / 1000).toFixed(1)} s`);
process.exit(bad ? 1 : 0);
