package probe

import (
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMain makes the certificate of httptest's servers a root of this process,
// the way a machine has its roots: from the file in SSL_CERT_FILE.
func TestMain(m *testing.M) {
	os.Exit(func() int {
		server := httptest.NewTLSServer(nil)
		server.Close()
		dir, err := os.MkdirTemp("", "probe")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		roots := filepath.Join(dir, "roots.pem")
		block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
		if err := os.WriteFile(roots, block, 0o600); err != nil {
			panic(err)
		}
		os.Setenv("SSL_CERT_FILE", roots)
		os.Setenv("SSL_CERT_DIR", dir)
		return m.Run()
	}())
}

// refusing is an address that nothing listens on.
func refusing(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// silentListener accepts connections and never says a word.
func silentListener(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener.Addr().String()
}

func site(t *testing.T) http.Handler {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("status: healthy\n")) })
	mux.HandleFunc("/teapot", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/ok?key=hidden", http.StatusFound)
	})
	mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte(strings.Repeat("x", bodyLimit) + "healthy"))
	})
	mux.HandleFunc("/cut", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		w.Write([]byte("healthy"))
	})
	return mux
}

func TestHTTP(t *testing.T) {
	plain := httptest.NewServer(site(t))
	t.Cleanup(plain.Close)
	secure := httptest.NewTLSServer(site(t))
	t.Cleanup(secure.Close)
	otherName := strings.Replace(secure.URL, "127.0.0.1", "localhost", 1)
	for _, c := range []struct {
		name           string
		spec           HTTPSpec
		verdict, class string
		contains       string
	}{
		{"2xx", HTTPSpec{URL: plain.URL + "/ok"}, Pass, "", "200"},
		{"tls", HTTPSpec{URL: secure.URL + "/ok", Body: "health"}, Pass, "", "matching body"},
		{"other name than the certificate's", HTTPSpec{URL: otherName + "/ok"}, Fail, "tls", "certificate"},
		{"https to a plain server", HTTPSpec{URL: strings.Replace(plain.URL, "http:", "https:", 1)}, Fail, "tls", ""},
		{"wanted status", HTTPSpec{URL: plain.URL + "/teapot", Status: 418}, Pass, "", "418"},
		{"other status", HTTPSpec{URL: plain.URL + "/teapot"}, Fail, "status", "418"},
		{"not found", HTTPSpec{URL: plain.URL + "/no"}, Fail, "status", "404"},
		{"body", HTTPSpec{URL: plain.URL + "/ok", Body: "^status: (healthy|ok)"}, Pass, "", ""},
		{"other body", HTTPSpec{URL: plain.URL + "/ok", Body: "sick"}, Fail, "body", "does not match"},
		{"body beyond the cap", HTTPSpec{URL: plain.URL + "/large", Body: "healthy"}, Fail, "body", ""},
		{"body that breaks off", HTTPSpec{URL: plain.URL + "/cut", Body: "healthy"}, Fail, "body", "broke off"},
		{"redirect is an answer", HTTPSpec{URL: plain.URL + "/moved"}, Fail, "status", "redirected to"},
		{"redirect followed", HTTPSpec{URL: plain.URL + "/moved", FollowRedirects: true}, Pass, "", "200"},
		{"refused", HTTPSpec{URL: "http://" + refusing(t)}, Fail, "refused", "refused"},
		{"silent", HTTPSpec{URL: "http://" + silentListener(t)}, Fail, "timeout", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := quick(KindHTTP)
			s.From, s.Ask, s.Timeout = FromDeployer, &c.spec, 500*time.Millisecond
			s.Deadline = s.Timeout
			r := runOne(t, s, nil)
			r.want(t, c.verdict, c.class, c.contains)
			if strings.Contains(r.Expected+r.Seen+r.Evidence, "hidden") {
				t.Errorf("a query got out: %+v", r)
			}
		})
	}
}

// The deployer's own name service says nothing of the host.
func TestNameNotResolved(t *testing.T) {
	const impossible = "no..such.host"
	s := quick(KindHTTP)
	ask[HTTPSpec](s).URL = "http://" + impossible + "/?key=hidden"
	s.From = FromDeployer
	r := runOne(t, s, nil)
	r.want(t, Unknown, "dns", "no such host")
	if strings.Contains(r.Expected+r.Seen+r.Evidence, "hidden") {
		t.Errorf("a query got out: %+v", r)
	}
	s.From = FromHost
	runOne(t, s, newStandIn(t).host(nil)).want(t, Fail, "dns", "")
	tcp := quick(KindTCP)
	tcp.From, ask[TCPSpec](tcp).Address = FromDeployer, impossible+":80"
	runOne(t, tcp, nil).want(t, Unknown, "dns", "")
}

func TestTCP(t *testing.T) {
	s := quick(KindTCP)
	ask[TCPSpec](s).Address = silentListener(t)
	host := newStandIn(t).host(nil)
	runOne(t, s, host).want(t, Pass, "", "accepted")
	ask[TCPSpec](s).Address = refusing(t)
	runOne(t, s, host).want(t, Fail, "refused", "refused")
	// 192.0.2.0/24 is kept free for documentation: no answer, or no way there.
	ask[TCPSpec](s).Address, s.Timeout, s.Deadline = "192.0.2.1:80", 200*time.Millisecond, 200*time.Millisecond
	if r := runOne(t, s, host); r.Verdict != Fail {
		t.Errorf("got %+v", r)
	}
}
