# run: bash
# needs: golang-go
# A Go program: goroutines, channels, timers, its collector, TCP on the loopback, mutexes, files; rounds check themselves.
mkdir go && cat > go/main.go <<'END'
package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

var problems = make(chan string, 1000)

func check(what string, ok bool) {
	if !ok {
		select {
		case problems <- what:
		default:
		}
	}
}

type tree struct{ left, right *tree }

func grow(depth int) *tree {
	if depth == 0 {
		return &tree{}
	}
	return &tree{grow(depth - 1), grow(depth - 1)}
}
func (t *tree) count() int {
	if t.left == nil {
		return 1
	}
	return 1 + t.left.count() + t.right.count()
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(c, c); c.Close() }()
		}
	}()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		panic(err)
	}
	var ticks, counter int64
	var counted int64
	var mutex sync.Mutex
	stop := make(chan bool)
	var group sync.WaitGroup
	group.Add(1)
	go func() {
		defer group.Done()
		ticker := time.NewTicker(2 * time.Millisecond)
		last := time.Now()
		for {
			select {
			case <-ticker.C:
				now := time.Now()
				check("the clock went back", !now.Before(last))
				last = now
				atomic.AddInt64(&ticks, 1)
			case <-stop:
				return
			}
		}
	}()
	for i := 0; i < 4; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for {
				select {
				case <-stop:
					return
				default:
					mutex.Lock()
					counter++
					mutex.Unlock()
					atomic.AddInt64(&counted, 1)
					time.Sleep(100 * time.Microsecond)
				}
			}
		}()
	}
	pipe := make(chan int)
	go func() {
		in := make(chan int)
		go func() {
			for i := 0; ; i++ {
				in <- i
			}
		}()
		for n := range in {
			pipe <- n * n
		}
	}()
	stopped := func() bool { _, err := os.Stat("stop"); return err == nil }
	next := 0
	for round := 0; round < 20 || !stopped(); round++ {
		for i := 0; i < 500; i++ {
			check("pipe", <-pipe == next*next)
			next++
		}
		check("tree", grow(12).count() == 8191)
		data := make([]byte, 50000)
		rand.Read(data)
		go conn.Write(data)
		back := make([]byte, len(data))
		_, err := io.ReadFull(conn, back)
		check("echo", err == nil && bytes.Equal(data, back))
		os.WriteFile("file", data, 0o600)
		read, err := os.ReadFile("file")
		check("file", err == nil && sha256.Sum256(read) == sha256.Sum256(data))
		if round == 5 {
			fmt.Println("working")
		}
	}
	close(stop)
	group.Wait()
	check("counter", counter == counted)
	check("ticks", ticks > 3)
	select {
	case p := <-problems:
		fmt.Println(p)
	default:
		fmt.Println("all is well")
	}
}
END
cd go && GOCACHE=$PWD/../cache GOFLAGS=-p=2 GO111MODULE=off go build -o ../work main.go && cd .. && rm -rf cache && exec ./work
