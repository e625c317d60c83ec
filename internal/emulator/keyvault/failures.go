package keyvault

import (
	"fmt"
	"net/http"

	"github.com/sluice-gitops/sluice/internal/emulator/wire"
)

func refuse(status int, code, inner, format string, args ...any) error {
	return &wire.Failure{Status: status, Code: code, Inner: inner, Message: fmt.Sprintf(format, args...)}
}

func badParameter(format string, args ...any) error {
	return refuse(http.StatusBadRequest, "BadParameter", "", format, args...)
}

func keyNotFound(t target) error {
	name := t.name
	if t.version != "" {
		name += "/" + t.version
	}
	return refuse(http.StatusNotFound, "KeyNotFound", "", "A key with (name/id) %s was not found in this key vault. "+
		"If it was deleted lately, it may still be recovered.", name)
}

func deletedButRecoverable(name string) error {
	return refuse(http.StatusConflict, "Conflict", "ObjectIsDeletedButRecoverable",
		"Key %s is currently in a deleted but recoverable state, and its name can't be used again; it can only be recovered or purged.", name)
}
