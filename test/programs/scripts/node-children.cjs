// run: node
// needs: nodejs
// ends: 6
// child_process, fs, streams, timers, crypto, zlib, unix sockets.
const cp = require("child_process"), fs = require("fs"), net = require("net"), crypto = require("crypto"), zlib = require("zlib"), { pipeline } = require("stream/promises");
const exit = (c) => new Promise((ok) => c.on("close", (code, signal) => ok([code, signal])));
if (process.argv[2] === "child") { process.on("message", (m) => { process.send({ got: m }); process.disconnect(); }); return; }
(async () => {
  console.log(cp.execSync("echo sync").toString().trim());
  console.log(cp.spawnSync("sh", ["-c", "echo out; echo err >&2; exit 3"]).status);
  const c = cp.spawn("tr", ["a-z", "A-Z"]); let out = ""; c.stdout.on("data", (d) => (out += d)); c.stdin.end("hello\n"); console.log(await exit(c), out.trim());
  const k = cp.spawn("sleep", ["10"]); k.kill("SIGKILL"); console.log(await exit(k));
  const f = cp.fork(__filename, ["child"]); f.send({ x: 1 }); f.on("message", (m) => console.log(JSON.stringify(m))); console.log(await exit(f));
  await new Promise((ok) => cp.exec("exit 7", (e) => { console.log(e.code); ok(); }));
  await new Promise((ok) => cp.spawn("no-such-command").on("error", (e) => { console.log(e.code); ok(); }));
  const many = await Promise.all(Array.from({ length: 10 }, (_, i) => new Promise((ok) => cp.execFile("echo", [`${i}`], (e, s) => ok(s.trim()))))); console.log(many.join(","));
  fs.writeFileSync("f", "data".repeat(100000)); console.log(fs.statSync("f").size, (await fs.promises.readFile("f")).length);
  fs.mkdirSync("a/b", { recursive: true }); fs.renameSync("f", "a/b/g"); console.log(fs.readdirSync("a", { recursive: true }).sort());
  await pipeline(fs.createReadStream("a/b/g"), zlib.createGzip(), fs.createWriteStream("z.gz")); console.log(zlib.gunzipSync(fs.readFileSync("z.gz")).length);
  console.log(crypto.createHash("sha256").update(fs.readFileSync("a/b/g")).digest("hex")); console.log(crypto.randomBytes(16).length);
  const server = net.createServer((s) => s.on("data", (d) => s.end(d.toString().toUpperCase()))); await new Promise((ok) => server.listen("sock", ok));
  const reply = await new Promise((ok) => net.connect("sock", function () { this.write("ping"); this.on("data", (d) => ok(d.toString())); })); console.log(reply); server.close();
  process.on("SIGUSR2", () => console.log("signal")); process.kill(process.pid, "SIGUSR2"); await new Promise((ok) => setTimeout(ok, 50));
  const order = []; setTimeout(() => order.push("timeout"), 1); setImmediate(() => order.push("immediate")); process.nextTick(() => order.push("tick")); Promise.resolve().then(() => order.push("micro")); await new Promise((ok) => setTimeout(ok, 60)); console.log(order.slice(0, 2));
  const watcher = fs.watch("a"); const seen = new Promise((ok) => watcher.once("change", (t, n) => ok(n))); fs.writeFileSync("a/new", ""); console.log(await Promise.race([seen, new Promise((ok) => setTimeout(ok, 2000, "no event"))])); watcher.close();
  fs.rmSync("a", { recursive: true }); console.log(fs.existsSync("a"), process.exitCode ?? 0); process.exit(6);
})();
