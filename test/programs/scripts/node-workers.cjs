// run: node
// needs: nodejs
// worker_threads: messages, transfer, shared memory with Atomics, termination, errors.
const { Worker, isMainThread, parentPort, workerData } = require("worker_threads");
if (!isMainThread) {
  const { mode, shared, n } = workerData;
  if (mode === "sum") { let s = 0; for (let i = 0; i < n; i++) s += i; parentPort.postMessage(s); }
  if (mode === "add") { const a = new Int32Array(shared); for (let i = 0; i < n; i++) Atomics.add(a, 0, 1); Atomics.notify(a, 0); }
  if (mode === "echo") parentPort.on("message", (m) => { parentPort.postMessage(m); parentPort.close(); });
  if (mode === "throw") throw new Error("from worker");
  if (mode === "spin") for (;;) {}
  if (mode === "wait") { const a = new Int32Array(shared); parentPort.postMessage(Atomics.wait(a, 1, 0, 5000)); }
} else (async () => {
  const start = (data) => new Worker(__filename, { workerData: data });
  const message = (w) => new Promise((ok, no) => { w.once("message", ok); w.once("error", no); });
  const exit = (w) => new Promise((ok) => w.once("exit", ok));
  console.log(await Promise.all([1e5, 2e5, 3e5, 4e5].map((n) => message(start({ mode: "sum", n })))));
  const shared = new SharedArrayBuffer(16);
  await Promise.all([1, 2, 3, 4].map(() => exit(start({ mode: "add", shared, n: 10000 }))));
  console.log(Atomics.load(new Int32Array(shared), 0));
  const echo = start({ mode: "echo" }); const buffer = new ArrayBuffer(1 << 20); const back = message(echo); echo.postMessage(buffer, [buffer]);
  console.log((await back).byteLength, buffer.byteLength);
  try { await message(start({ mode: "throw" })); } catch (e) { console.log(e.message); }
  const spin = start({ mode: "spin" }); await new Promise((ok) => spin.once("online", ok)); console.log("terminated", await spin.terminate());
  const w = start({ mode: "wait", shared }); const answer = message(w); setTimeout(() => { const a = new Int32Array(shared); Atomics.store(a, 1, 1); Atomics.notify(a, 1); }, 200); console.log(["ok", "not-equal"].includes(await answer));
  const workers = Array.from({ length: 8 }, () => start({ mode: "sum", n: 1000 })); console.log((await Promise.all(workers.map(message))).every((s) => s === 499500));
})();
