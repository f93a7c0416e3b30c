# run: /usr/bin/python3
# needs: python3
# Signals in Python: handlers, alarms, interrupted calls, wakeup descriptors, masks, sigwait, children, asyncio.
import asyncio, errno, os, select, signal, socket, threading, time

got = []
signal.signal(signal.SIGUSR1, lambda n, f: got.append(n)); os.kill(os.getpid(), signal.SIGUSR1); print(got)
signal.signal(signal.SIGALRM, lambda n, f: got.append("alarm")); signal.setitimer(signal.ITIMER_REAL, 0.05); begun = time.monotonic(); time.sleep(0.2); print(got[1:], time.monotonic() - begun >= 0.2)
def stop(n, f): raise TimeoutError
signal.signal(signal.SIGALRM, stop); signal.setitimer(signal.ITIMER_REAL, 0.05)
try: time.sleep(5)
except TimeoutError: print("broken off")
r, w = os.pipe(); signal.setitimer(signal.ITIMER_REAL, 0.05)
try: os.read(r, 1)
except TimeoutError: print("read broken off")
a, b = socket.socketpair(); a.setblocking(False); b.setblocking(False); signal.set_wakeup_fd(b.fileno()); os.kill(os.getpid(), signal.SIGUSR1); print(select.select([a], [], [], 1)[0] == [a], a.recv(10)); signal.set_wakeup_fd(-1)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2]); os.kill(os.getpid(), signal.SIGUSR2); print([s.name for s in signal.sigpending()], signal.sigwait([signal.SIGUSR2]).name)
print(signal.sigtimedwait([signal.SIGUSR2], 0.02)); signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR2])
pid = os.fork()
if pid == 0: signal.signal(signal.SIGTERM, signal.SIG_DFL); signal.pause(); os._exit(0)
time.sleep(0.05); os.kill(pid, signal.SIGSTOP); print(os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1])); os.kill(pid, signal.SIGCONT); print(os.WIFCONTINUED(os.waitpid(pid, os.WCONTINUED)[1])); os.kill(pid, signal.SIGTERM); print(os.WTERMSIG(os.waitpid(pid, 0)[1]))
try: signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt: print("KeyboardInterrupt")
signal.signal(signal.SIGPIPE, signal.SIG_IGN); r, w = os.pipe(); os.close(r)
try: os.write(w, b"x")
except BrokenPipeError as e: print(e.errno == errno.EPIPE)
t = threading.Thread(target=lambda: (time.sleep(0.05), signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1))); got.clear(); t.start(); t.join(); time.sleep(0.01); print(got)
async def main():
    loop = asyncio.get_running_loop(); done = asyncio.Event(); loop.add_signal_handler(signal.SIGUSR2, done.set); loop.call_later(0.05, os.kill, os.getpid(), signal.SIGUSR2); await asyncio.wait_for(done.wait(), 5); print("asyncio signal")
    p = await asyncio.create_subprocess_exec("cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE); print(await p.communicate(b"through cat"), p.returncode)
    print(await asyncio.gather(*(asyncio.sleep(0.01 * (5 - i), i) for i in range(5))))
    server = await asyncio.start_unix_server(lambda r, w: serve(r, w), "sock"); r, w = await asyncio.open_unix_connection("sock"); w.write(b"ping\n"); print(await r.readline()); w.close(); server.close()
async def serve(r, w): w.write((await r.readline()).upper()); await w.drain(); w.close()
asyncio.run(main())
