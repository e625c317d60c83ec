package emulator

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/sluice-gitops/sluice/internal/emulator/arm"
	"github.com/sluice-gitops/sluice/internal/emulator/entra"
	"github.com/sluice-gitops/sluice/internal/emulator/issuer"
	"github.com/sluice-gitops/sluice/internal/emulator/keyvault"
)

// domains are what the certificate authority is good for, with all that lies under them. sts.windows.net is only the
// issuer's name in tokens, but clients may come to ask there.
var domains = []string{entra.Host, entra.SecondHost, "sts.windows.net", arm.Host, keyvault.Domain, issuer.Domain}

// emulated says whether host is one of the emulated Azure's. A vault that doesn't exist has no name in Azure's DNS:
// that's an error here, because asking the real DNS would send the client to somebody else's vault.
func (e *Emulator) emulated(host string) (bool, error) {
	host = strings.ToLower(host)
	switch {
	case host == entra.Host, host == entra.SecondHost, host == "sts.windows.net", host == arm.Host:
		return true, nil
	case strings.HasSuffix(host, "."+issuer.Domain):
		return true, nil
	}
	name, isVault := strings.CutSuffix(host, "."+keyvault.Domain)
	if !isVault {
		return false, nil
	}
	if e.store.State().Vault(name) == nil {
		return true, fmt.Errorf("no such host: the emulated Azure has no key vault named %q", name)
	}
	return true, nil
}

// hosts sends each request to the service that its host names. Only hosts that emulated knows get here.
func (e *Emulator) hosts(login, vaults, manager, tokenIssuer http.Handler) http.Handler {
	login = e.recorder.Wrap("entra", login)
	vaults = e.recorder.Wrap("keyvault", vaults)
	manager = e.recorder.Wrap("arm", manager)
	tokenIssuer = e.recorder.Wrap("issuer", tokenIssuer)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Host == arm.Host:
			manager.ServeHTTP(w, r)
		case strings.HasSuffix(r.Host, "."+keyvault.Domain):
			vaults.ServeHTTP(w, r)
		case strings.HasSuffix(r.Host, "."+issuer.Domain):
			tokenIssuer.ServeHTTP(w, r)
		default:
			login.ServeHTTP(w, r)
		}
	})
}

// delayed answers later by d.
func delayed(h http.Handler, d time.Duration) http.Handler {
	if d == 0 {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(d)
		h.ServeHTTP(w, r)
	})
}
