package probe

import (
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
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
		authority, err = newAuthority()
		if err != nil {
			panic(err)
		}
		block = append(block, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.Leaf.Raw})...)
		if err := os.WriteFile(roots, block, 0o600); err != nil {
			panic(err)
		}
		os.Setenv("SSL_CERT_FILE", roots)
		os.Setenv("SSL_CERT_DIR", dir)
		return m.Run()
	}())
}

// authority is a root of this process that signs certificates of any age.
var authority *tls.Certificate

func newAuthority() (*tls.Certificate, error) {
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "probe"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-365 * 24 * time.Hour), NotAfter: time.Now().Add(365 * 24 * time.Hour),
	}
	der, err := x509.CreateCertificate(nil, template, template, public, key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}

// certified serves the site over TLS with a certificate that ends then.
func certified(t *testing.T, left time.Duration) *httptest.Server {
	t.Helper()
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"named.example"},
		NotBefore: time.Now().Add(-30 * 24 * time.Hour), NotAfter: time.Now().Add(left),
	}
	der, err := x509.CreateCertificate(nil, template, authority.Leaf, public, authority.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(site(t))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
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
	mux.HandleFunc("/headers", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Strict-Transport-Security", "max-age=63072000; preload")
		w.Header()["Link"] = []string{"<a>", "<b>"}
	})
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
	threeDays, yesterday := certified(t, 73*time.Hour), certified(t, -24*time.Hour)
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
		{"header", HTTPSpec{URL: plain.URL + "/headers", Headers: []Header{{"strict-transport-security", "max-age=[0-9]{8}"}, {"Link", ""}}}, Pass, "", ""},
		{"one of two values", HTTPSpec{URL: plain.URL + "/headers", Headers: []Header{{"Link", "b"}}}, Pass, "", ""},
		{"other value", HTTPSpec{URL: plain.URL + "/headers", Headers: []Header{{"Link", "c"}}}, Fail, "header", "Link"},
		{"no such header", HTTPSpec{URL: plain.URL + "/ok", Headers: []Header{{"Strict-Transport-Security", ""}}}, Fail, "header", "no header"},
		{"days left", HTTPSpec{URL: threeDays.URL + "/ok", TLSDaysLeft: 3}, Pass, "", ""},
		{"not enough days", HTTPSpec{URL: threeDays.URL + "/ok", TLSDaysLeft: 4}, Fail, "tls-expiry", "3 days"},
		{"expired", HTTPSpec{URL: yesterday.URL + "/ok"}, Fail, "tls-expired", "expired"},
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

func TestTLS(t *testing.T) {
	threeDays, yesterday := certified(t, 73*time.Hour), certified(t, -24*time.Hour)
	stranger := httptest.NewUnstartedServer(nil)
	stranger.TLS = &tls.Config{Certificates: []tls.Certificate{selfSigned(t)}}
	stranger.StartTLS()
	t.Cleanup(stranger.Close)
	plain := httptest.NewServer(nil)
	t.Cleanup(plain.Close)
	for _, c := range []struct {
		name, address  string
		spec           TCPSpec
		verdict, class string
		contains       string
	}{
		{"valid", threeDays.Listener.Addr().String(), TCPSpec{}, Pass, "", "agreed"},
		{"for its name", threeDays.Listener.Addr().String(), TCPSpec{TLSName: "named.example", TLSDaysLeft: 3}, Pass, "", ""},
		{"for another name", threeDays.Listener.Addr().String(), TCPSpec{TLSName: "other.example"}, Fail, "tls", "named.example"},
		{"not enough days", threeDays.Listener.Addr().String(), TCPSpec{TLSDaysLeft: 4}, Fail, "tls-expiry", "3 days"},
		{"expired", yesterday.Listener.Addr().String(), TCPSpec{}, Fail, "tls-expired", "expired"},
		{"nobody vouches for it", stranger.Listener.Addr().String(), TCPSpec{}, Fail, "tls", "unknown authority"},
		{"no TLS", plain.Listener.Addr().String(), TCPSpec{}, Fail, "tls", ""},
		{"silent", silentListener(t), TCPSpec{}, Fail, "timeout", ""},
		{"refused", refusing(t), TCPSpec{}, Fail, "refused", ""},
		{"no such name", "no..such.host:443", TCPSpec{}, Unknown, "dns", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := quick(KindTCP)
			c.spec.Address, c.spec.TLS = c.address, true
			s.From, s.Ask, s.Timeout, s.Deadline = FromDeployer, &c.spec, 3*time.Second, 3*time.Second
			runOne(t, s, nil).want(t, c.verdict, c.class, c.contains)
		})
	}
}

// selfSigned is a certificate that no root vouches for.
func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	stranger, err := newAuthority()
	if err != nil {
		t.Fatal(err)
	}
	return *stranger
}

// A server that still sends the way to a root that ends soon has a good certificate
// where there is another way.
func TestExpiryIsThatOfTheBestChain(t *testing.T) {
	ends := func(days int) *x509.Certificate {
		return &x509.Certificate{NotAfter: time.Now().Add(time.Duration(days)*24*time.Hour + time.Hour)}
	}
	leaf := ends(60)
	state := tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{leaf, ends(3)}, {leaf, ends(900)}}}
	if f := tooShort(state, 30); f.verdict != "" {
		t.Errorf("got %+v", f)
	}
	if f := tooShort(state, 90); f.class != "tls-expiry" || !strings.Contains(f.seen, "60 days") {
		t.Errorf("got %+v", f)
	}
}
