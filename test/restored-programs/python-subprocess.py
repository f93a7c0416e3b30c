# run: /usr/bin/python3
# needs: python3 coreutils gzip
# Children: pipelines with data in them, one that sleeps, one that is stopped, signals, exit statuses, a process pool.
import concurrent.futures, gzip, hashlib, os, signal, subprocess, time

problems = []
def check(what, got, want):
    if got != want: problems.append(f"{what}: {got!r}, not {want!r}")
def square(n): return n * n

if __name__ == "__main__":
    slow = subprocess.Popen(["sh", "-c", "sleep 1; exit 7"])
    sleeping = subprocess.Popen(["sleep", "1000"])
    still = subprocess.Popen(["sh", "-c", "kill -STOP $$; exit 9"])
    os.waitid(os.P_PID, still.pid, os.WSTOPPED | os.WNOWAIT)
    cat = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    usr = []
    signal.signal(signal.SIGUSR1, lambda *_: usr.append(1))
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        round = 0
        while round < 6 or not os.path.exists("stop"):
            data = os.urandom(2000) * 100
            gz = subprocess.run("gzip -1 | gzip -d | gzip -1", shell=True, input=data, capture_output=True, check=True).stdout
            check("gzip", gzip.decompress(gz), data)
            answer = pool.map(square, range(round, round + 20))
            cat.stdin.write(b"%d\n" % round); cat.stdin.flush(); check("cat", cat.stdout.readline(), b"%d\n" % round)
            check("sum", subprocess.check_output(["sha256sum"], input=data).split()[0].decode(), hashlib.sha256(data).hexdigest())
            check("squares", list(answer), [n * n for n in range(round, round + 20)])
            subprocess.run(["kill", "-USR1", str(os.getpid())], check=True)
            check("status", subprocess.call(["sh", "-c", f"exit {round % 100}"]), round % 100)
            round += 1
            if round == 2: print("working", flush=True)
    check("signals", len(usr), round)
    check("slow", slow.wait(), 7)
    still.send_signal(signal.SIGCONT); check("stopped", still.wait(), 9)
    sleeping.terminate(); check("sleeping", sleeping.wait(), -15)
    cat.stdin.close(); check("cat's end", (cat.stdout.read(), cat.wait()), (b"", 0))
    print("\n".join(problems) or "all is well")
