# run: /usr/bin/python3
# needs: python3
# tempfile, shutil, pathlib, os: files of every kind, permissions, times, walking, mmap, fcntl.
import fcntl, glob, hashlib, io, mmap, os, pathlib, shutil, stat, tempfile

with tempfile.TemporaryDirectory(dir=".") as d:
    p = pathlib.Path(d)
    (p / "a" / "b").mkdir(parents=True); (p / "a" / "f.txt").write_text("text\n" * 100); (p / "a" / "b" / "g.bin").write_bytes(bytes(range(256)) * 50)
    (p / "link").symlink_to("a/f.txt"); os.link(p / "a" / "f.txt", p / "hard")
    print(sorted(str(x.relative_to(p)) for x in p.rglob("*")))
    print((p / "link").read_text().count("text"), (p / "hard").stat().st_nlink, (p / "link").is_symlink())
    shutil.copytree(p / "a", p / "copy", symlinks=True); print(sorted(os.listdir(p / "copy")))
    shutil.make_archive(str(p / "arch"), "gztar", p / "a"); shutil.unpack_archive(str(p / "arch.tar.gz"), p / "un"); print(sorted(os.listdir(p / "un")))
    os.chmod(p / "hard", 0o640); print(oct(stat.S_IMODE(os.stat(p / "a" / "f.txt").st_mode)))
    os.utime(p / "hard", ns=(10**18, 2 * 10**18)); print(os.stat(p / "hard").st_mtime_ns)
    shutil.move(p / "copy", p / "moved"); print((p / "moved" / "b" / "g.bin").stat().st_size)
    print(hashlib.sha256((p / "a" / "b" / "g.bin").read_bytes()).hexdigest())
    with os.scandir(p) as it: print(sorted((e.name, e.is_dir()) for e in it if e.name != "arch.tar.gz"))
    keep = str(p)
print(os.path.exists(keep))
with tempfile.NamedTemporaryFile(dir=".") as f:
    f.write(b"x" * 10000); f.flush(); print(os.path.getsize(f.name))
    with mmap.mmap(f.fileno(), 0) as m: m[0:5] = b"hello"; m.flush(); print(m.find(b"o"), len(m))
    f.seek(0); print(f.read(6)); fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with open(f.name) as g:
        try: fcntl.flock(g, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e: print("locked", e.errno)
with tempfile.TemporaryFile(dir=".") as f: f.write(b"gone"); f.seek(0); print(f.read())
with tempfile.SpooledTemporaryFile(max_size=10) as f: f.write(b"y" * 100); f.seek(0); print(len(f.read()))
with open("big", "wb") as f: f.seek(10_000_000); f.write(b"end")
print(os.path.getsize("big"), os.stat("big").st_blocks < 1000); os.truncate("big", 5); print(open("big", "rb").read())
with open("text", "w", encoding="utf-8") as f: f.write("grüße\n" * 3)
print([len(line) for line in open("text", encoding="utf-8")], os.path.getsize("text"))
fd = os.open("raw", os.O_CREAT | os.O_RDWR | os.O_EXCL, 0o600); os.pwrite(fd, b"abc", 5); print(os.pread(fd, 10, 0), os.lseek(fd, 0, os.SEEK_END)); os.close(fd)
print(sorted(glob.glob("*"))); os.replace("raw", "text"); print(sorted(os.listdir(".")))
for call in (lambda: open("missing"), lambda: os.mkdir("big"), lambda: os.rmdir("big"), lambda: os.listdir("big")):
    try: call()
    except OSError as e: print(type(e).__name__, e.errno)
print(shutil.which("sh") is not None, shutil.disk_usage(".").total > 0, io.DEFAULT_BUFFER_SIZE)
