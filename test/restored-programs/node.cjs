// run: node
// needs: nodejs
// Timers, workers with shared memory and messages, an HTTP server and clients in one process; each round checks itself.
const { Worker, isMainThread, parentPort, workerData } = require("worker_threads");
const http = require("http");
const fs = require("fs");
const crypto = require("crypto");
if (!isMainThread) {
  const shared = new Int32Array(workerData.shared);
  parentPort.on("message", ({ from, to }) => {
    let sum = 0;
    for (let i = from; i < to; i++) sum += i;
    Atomics.add(shared, 0, 1);
    parentPort.postMessage({ from, to, sum });
  });
} else {
  const problems = [];
  const check = (what, got, want) => { if (got !== want) problems.push(`${what}: ${got}, not ${want}`); };
  const shared = new SharedArrayBuffer(8);
  const counter = new Int32Array(shared);
  const workers = [0, 1, 2].map(() => new Worker(__filename, { workerData: { shared } }));
  const ask = (w, m) => new Promise((ok) => { w.once("message", ok); w.postMessage(m); });
  const agent = new http.Agent({ keepAlive: true, maxSockets: 4 });
  const server = http.createServer((req, res) => {
    const hash = crypto.createHash("sha256");
    req.on("data", (d) => hash.update(d));
    req.on("end", () => setTimeout(() => res.end(hash.digest("hex")), 5));
  });
  const post = (port, body) => new Promise((ok, no) => {
    const req = http.request({ port, method: "POST", agent }, (res) => {
      let text = "";
      res.on("data", (d) => (text += d));
      res.on("end", () => ok(text));
    });
    req.on("error", no);
    req.end(body);
  });
  let ticks = 0, late = 0, last = process.hrtime.bigint();
  const interval = setInterval(() => { ticks++; const now = process.hrtime.bigint(); if (now < last) late++; last = now; }, 10);
  server.listen(0, "127.0.0.1", async () => {
    const { port } = server.address();
    let asked = 0;
    for (let round = 0; round < 10 || !fs.existsSync("stop"); round++) {
      const sums = workers.map((w, i) => { asked++; return ask(w, { from: i * 1000, to: i * 1000 + 5000 }); });
      const bodies = [1, 2, 3, 4, 5, 6].map((n) => Buffer.alloc(n * 20000, `${round} ${n} `));
      const answers = bodies.map((b) => post(port, b));
      (await Promise.all(sums)).forEach(({ from, to, sum }) => check("sum", sum, ((to - from) * (from + to - 1)) / 2));
      (await Promise.all(answers)).forEach((a, i) => check("hash", a, crypto.createHash("sha256").update(bodies[i]).digest("hex")));
      fs.appendFileSync("log", `${round}\n`);
      check("log", fs.readFileSync("log", "utf8").split("\n").length, round + 2);
      if (round === 3) console.log("working");
    }
    check("counter", Atomics.load(counter, 0), asked);
    check("late", late, 0);
    check("ticks", ticks > 5, true);
    clearInterval(interval);
    await Promise.all(workers.map((w) => w.terminate()));
    agent.destroy();
    server.close();
    console.log(problems.length ? problems.join("\n") : "all is well");
  });
}
