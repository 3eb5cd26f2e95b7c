// TLS by the library of Go: a client or a server that says what it saw.
//
//	peer client PORT CA VERSION [GROUP]
//	peer server PORT CERTIFICATE KEY VERSION
//
// The client connects twice, the second time with the session of the first. It sends the pattern,
// says close_notify, and reads to the end: what it sent, and the server's last words behind that.
// The server echoes to the end of what it hears, says its last words, and ends.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"
)

const (
	sentBytes = 3_000_000
	lastBytes = 1_000_000
	name      = "db.example.com"
	patience  = 60 * time.Second
)

// The byte of the pattern at a place.
func at(place int) byte {
	return byte(place ^ place>>8 ^ place>>16)
}

func pattern(from, bytes int) []byte {
	piece := make([]byte, bytes)
	for nth := range piece {
		piece[nth] = at(from + nth)
	}
	return piece
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func version(word string) uint16 {
	if word == "1.2" {
		return tls.VersionTLS12
	}
	return tls.VersionTLS13
}

func say(conn *tls.Conn, bytes int) {
	state := conn.ConnectionState()
	word := "1.3"
	if state.Version == tls.VersionTLS12 {
		word = "1.2"
	}
	fmt.Println(word, "resumed", state.DidResume, "bytes", bytes)
}

// Reads to close_notify, and compares with the pattern.
func readAll(conn io.Reader) (int, error) {
	place, piece := 0, make([]byte, 65536)
	for {
		count, err := conn.Read(piece)
		for _, got := range piece[:count] {
			if got != at(place) {
				return place, fmt.Errorf("byte %d is not the pattern's", place)
			}
			place++
		}
		if errors.Is(err, io.EOF) {
			return place, nil
		}
		if err != nil {
			return place, err
		}
	}
}

func connect(port string, config *tls.Config) {
	conn, err := tls.Dial("tcp", "127.0.0.1:"+port, config)
	check(err)
	check(conn.SetDeadline(time.Now().Add(patience)))
	sent := make(chan error, 1)
	go func() {
		for place := 0; place < sentBytes; {
			// Odd sizes: no record ends where a piece does.
			bytes := 1 + place%40_009
			if bytes > sentBytes-place {
				bytes = sentBytes - place
			}
			if _, err := conn.Write(pattern(place, bytes)); err != nil {
				sent <- err
				return
			}
			place += bytes
		}
		sent <- conn.CloseWrite()
	}()
	bytes, err := readAll(conn)
	check(err)
	check(<-sent)
	say(conn, bytes)
	check(conn.Close())
}

func client(words []string) {
	authority, err := os.ReadFile(words[1])
	check(err)
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		check(errors.New("no certificate"))
	}
	config := &tls.Config{
		RootCAs:            roots,
		ServerName:         name,
		MinVersion:         version(words[2]),
		MaxVersion:         version(words[2]),
		ClientSessionCache: tls.NewLRUClientSessionCache(10),
	}
	if len(words) > 3 {
		group, err := strconv.Atoi(words[3])
		check(err)
		config.CurvePreferences = []tls.CurveID{tls.CurveID(group)}
	}
	connect(words[0], config)
	connect(words[0], config)
}

func serve(plain net.Conn, config *tls.Config) {
	conn := tls.Server(plain, config)
	defer conn.Close()
	check(conn.SetDeadline(time.Now().Add(patience)))
	bytes, err := io.Copy(onlyWriter{conn}, onlyReader{conn})
	check(err)
	_, err = conn.Write(pattern(int(bytes), lastBytes))
	check(err)
	say(conn, int(bytes))
	check(conn.CloseWrite())
}

// Copies go through memory of ours, in pieces of its size.
type onlyReader struct{ io.Reader }
type onlyWriter struct{ io.Writer }

func server(words []string) {
	pair, err := tls.LoadX509KeyPair(words[1], words[2])
	check(err)
	config := &tls.Config{
		Certificates: []tls.Certificate{pair},
		MinVersion:   version(words[3]),
		MaxVersion:   version(words[3]),
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+words[0])
	check(err)
	fmt.Println("ready")
	for {
		plain, err := listener.Accept()
		check(err)
		go serve(plain, config)
	}
}

func main() {
	if os.Args[1] == "client" {
		client(os.Args[2:])
	} else {
		server(os.Args[2:])
	}
}
