package source

// AuthOf reads the data of the Secret that a GitRepository's spec.secretRef names, with the entry names that Flux
// documents.
func AuthOf(secret map[string][]byte) Auth {
	first := func(names ...string) []byte {
		for _, name := range names {
			if v, ok := secret[name]; ok {
				return v
			}
		}
		return nil
	}
	auth := Auth{
		Username:    string(secret["username"]),
		BearerToken: string(secret["bearerToken"]),
		CAFile:      first("ca.crt", "caFile"),
		ClientCert:  first("tls.crt", "certFile"),
		ClientKey:   first("tls.key", "keyFile"),
		Identity:    secret["identity"],
		KnownHosts:  secret["known_hosts"],
	}
	// In an SSH Secret the password opens the private key; over HTTPS it is the account's.
	if len(auth.Identity) > 0 {
		auth.IdentityPassphrase = secret["password"]
	} else {
		auth.Password = string(secret["password"])
	}
	return auth
}
