# run: bash
# needs: default-jdk-headless
# A Java program with its collector, compiler and threads at work: pools, timers, sockets, files, maps; rounds check themselves.
cat > Work.java <<'END'
import java.io.*;
import java.net.*;
import java.nio.file.*;
import java.security.MessageDigest;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;

public class Work {
  static final Queue<String> problems = new ConcurrentLinkedQueue<>();
  static void check(String what, Object got, Object want) { if (!got.equals(want)) problems.add(what + ": " + got + ", not " + want); }
  static byte[] hash(byte[] data) throws Exception { return MessageDigest.getInstance("SHA-256").digest(data); }
  static long primes(int below) {
    boolean[] no = new boolean[below]; long sum = 0;
    for (int i = 2; i < below; i++) { if (no[i]) continue; sum += i; for (int j = 2 * i; j < below; j += i) no[j] = true; }
    return sum;
  }
  public static void main(String[] args) throws Exception {
    ExecutorService pool = Executors.newFixedThreadPool(3);
    ScheduledExecutorService timer = Executors.newScheduledThreadPool(1);
    AtomicLong ticks = new AtomicLong(), last = new AtomicLong(System.nanoTime());
    timer.scheduleAtFixedRate(() -> { ticks.incrementAndGet(); long now = System.nanoTime(); if (now < last.getAndSet(now)) problems.add("the clock went back"); }, 5, 5, TimeUnit.MILLISECONDS);
    ServerSocket server = new ServerSocket(0, 5, InetAddress.getLoopbackAddress());
    Thread echo = new Thread(() -> {
      try (Socket s = server.accept()) { byte[] b = new byte[8192]; int n; while ((n = s.getInputStream().read(b)) > 0) s.getOutputStream().write(b, 0, n); }
      catch (IOException e) { problems.add("echo: " + e); }
    });
    echo.start();
    Socket client = new Socket(server.getInetAddress(), server.getLocalPort());
    Map<Integer, byte[]> kept = new HashMap<>();
    Random random = new Random(1);
    Path stop = Path.of("stop"), file = Path.of("file");
    int round = 0;
    for (; round < 10 || !Files.exists(stop); round++) {
      List<Future<Long>> sums = new ArrayList<>();
      for (int i = 0; i < 6; i++) sums.add(pool.submit(() -> primes(20000)));
      byte[] data = new byte[20000]; random.nextBytes(data);
      kept.put(round % 50, data);
      client.getOutputStream().write(data);
      check("echo", Arrays.equals(client.getInputStream().readNBytes(data.length), data), true);
      Files.write(file, data);
      check("file", Arrays.equals(hash(Files.readAllBytes(file)), hash(data)), true);
      for (Future<Long> sum : sums) check("primes", sum.get(), 21171191L);
      StringBuilder text = new StringBuilder();
      for (int i = 0; i < 2000; i++) text.append(i).append(i % 2 == 0 ? "even" : "odd");
      check("text", text.toString().hashCode(), -1722911278);
      if (round == 3) System.out.println("working");
    }
    check("kept", kept.size(), Math.min(round, 50));
    client.shutdownOutput(); echo.join();
    pool.shutdown(); timer.shutdown();
    check("ended", pool.awaitTermination(20, TimeUnit.SECONDS) && timer.awaitTermination(20, TimeUnit.SECONDS), true);
    check("ticks", ticks.get() > 3, true);
    System.out.println(problems.isEmpty() ? "all is well" : String.join("\n", problems));
  }
}
END
exec java -Xmx128m Work.java
