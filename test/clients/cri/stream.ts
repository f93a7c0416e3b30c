/**
 * A program beside the daemon that connects a terminal, or pipes, to a container: `bun stream.ts URL [tty]`, what kubectl's
 * exec and attach are to people. The daemon gives the URL (Exec and Attach); a WebSocket there carries a byte that names
 * the channel before each message. Its exit status is that of the program in the container.
 */
const [INPUT, OUTPUT, ERRORS, STATUS, RESIZE] = [0, 1, 2, 3, 4];
const [url = "", mode] = process.argv.slice(2);

const socket = new WebSocket(url.replace(/^http/, "ws"), { protocols: ["v4.channel.k8s.io"] });
socket.binaryType = "arraybuffer";

function send(channel: number, data: Uint8Array | string): void {
  socket.send(Buffer.concat([Buffer.of(channel), Buffer.from(data)]));
}
const size = (): void => {
  const { columns, rows } = process.stdout;
  send(RESIZE!, JSON.stringify({ Width: columns, Height: rows }));
};

socket.addEventListener("open", () => {
  if (mode === "tty") {
    process.stdin.setRawMode(true);
    size();
    process.stdout.on("resize", size);
  }
  process.stdin.on("data", (data: Buffer) => send(INPUT!, data));
});

/** {"status":"Success"}, or a failure whose cause may be the exit code. */
function exitCode(text: string): number {
  const { status, message, details } = JSON.parse(text);
  if (status === "Success") return 0;
  const cause = details?.causes?.find((each: { reason: string }) => each.reason === "ExitCode");
  if (cause) return Number(cause.message);
  console.error(message);
  return 255;
}

let status = 254;
socket.addEventListener("message", ({ data }) => {
  const bytes = Buffer.from(data as ArrayBuffer);
  const rest = bytes.subarray(1);
  // Each channel is announced by an empty message.
  if (rest.length === 0) return;
  if (bytes[0] === OUTPUT) process.stdout.write(rest);
  else if (bytes[0] === ERRORS) process.stderr.write(rest);
  else if (bytes[0] === STATUS) status = exitCode(rest.toString());
});
socket.addEventListener("close", () => process.exit(status));
socket.addEventListener("error", () => console.error(`${url}: the connection failed`));
