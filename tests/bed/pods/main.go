// The bed's own programs inside pods; the name it is called by picks one.
//
//	pause    holds a pod's namespaces: sleeps until it is told to stop
//	verify   what a verification pod runs: says where it is, waits, and ends as told
package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	switch filepath.Base(os.Args[0]) {
	case "pause":
		pause()
	case "verify":
		os.Exit(verify(os.Args[1:]))
	default:
		fmt.Fprintln(os.Stderr, "call me by a name: pause, verify")
		os.Exit(2)
	}
}

// pause is the first process of a pod: it collects the orphans of a shared process namespace too.
func pause() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	for {
		select {
		case <-stop:
			return
		case <-children:
			for {
				if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
					break
				}
			}
		}
	}
}

const usage = `verify [print=TEXT] [sleep=SECONDS] [exit=CODE] [node=NAME] [fail-on=NODE,NODE] [fail-file=PATH]

Does these in the order given, after a line with the kernel's release. It ends with CODE;
with "fail-on", or a file with one node a line, it ends with 1 when "node" (or NODE in the environment) is listed.
EXIT_CODE in the environment is the same as "exit".`

func verify(args []string) int {
	var name syscall.Utsname
	if err := syscall.Uname(&name); err == nil {
		fmt.Println("kernel:", text(name.Release[:]), "host:", text(name.Nodename[:]))
	}
	node := os.Getenv("NODE")
	if node != "" {
		fmt.Println("node:", node)
	}
	code := 0
	if given := os.Getenv("EXIT_CODE"); given != "" {
		args = append([]string{"exit=" + given}, args...)
	}
	for _, arg := range args {
		key, value, ok := strings.Cut(arg, "=")
		if !ok {
			fmt.Fprintln(os.Stderr, usage)
			return 2
		}
		switch key {
		case "print":
			fmt.Println(value)
		case "node":
			node = value
		case "sleep":
			seconds, err := strconv.ParseFloat(value, 64)
			if err != nil {
				fmt.Fprintln(os.Stderr, "sleep:", err)
				return 2
			}
			time.Sleep(time.Duration(seconds * float64(time.Second)))
		case "exit":
			number, err := strconv.Atoi(value)
			if err != nil {
				fmt.Fprintln(os.Stderr, "exit:", err)
				return 2
			}
			code = number
		case "fail-on":
			code = failing(code, node, strings.Split(value, ","))
		case "fail-file":
			// No file means that no node fails: a ConfigMap may be mounted as optional.
			if content, err := os.ReadFile(value); err == nil {
				code = failing(code, node, strings.Fields(string(content)))
			}
		default:
			fmt.Fprintln(os.Stderr, usage)
			return 2
		}
	}
	fmt.Println("exit:", code)
	return code
}

func failing(code int, node string, listed []string) int {
	for _, name := range listed {
		if name == node && node != "" {
			fmt.Println("this node is told to fail:", node)
			return 1
		}
	}
	return code
}

// text reads a C string; the kernel's character type differs between architectures.
func text[T int8 | uint8](characters []T) string {
	var out strings.Builder
	for _, character := range characters {
		if character == 0 {
			break
		}
		out.WriteByte(byte(character))
	}
	return out.String()
}
