package entra

// instanceDiscovery tells clients that the authority is Microsoft's own and under which names it goes.
func instanceDiscovery(tenant string) any {
	return map[string]any{
		"tenant_discovery_endpoint": "https://" + Host + "/" + tenant + "/v2.0/.well-known/openid-configuration",
		"api-version":               "1.1",
		"metadata": []any{map[string]any{
			"preferred_network": Host,
			"preferred_cache":   SecondHost,
			"aliases":           []string{Host, SecondHost, "login.microsoft.com", "sts.windows.net"},
		}},
	}
}

func openIDv2(tenant string) any {
	root := "https://" + Host + "/" + tenant
	return openID(tenant, root+"/v2.0", root+"/oauth2/v2.0", root+"/discovery/v2.0/keys")
}

func openIDv1(tenant string) any {
	root := "https://" + Host + "/" + tenant
	return openID(tenant, v1Issuer(tenant), root+"/oauth2", root+"/discovery/keys")
}

func openID(tenant, issuer, endpoints, keys string) any {
	return map[string]any{
		"issuer":                                issuer,
		"authorization_endpoint":                endpoints + "/authorize",
		"token_endpoint":                        endpoints + "/token",
		"device_authorization_endpoint":         endpoints + "/devicecode",
		"jwks_uri":                              keys,
		"response_types_supported":              []string{"code", "id_token"},
		"response_modes_supported":              []string{"query", "form_post"},
		"subject_types_supported":               []string{"pairwise"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt"},
		"scopes_supported":                      []string{"openid", "profile", "offline_access"},
		"claims_supported":                      []string{"aud", "exp", "iat", "iss", "oid", "sub", "tid", "ver"},
		"tenant_region_scope":                   "EU",
		"cloud_instance_name":                   "microsoftonline.com",
	}
}

// v1Issuer is the issuer of the tokens that Key Vault and Resource Manager take.
func v1Issuer(tenant string) string { return "https://sts.windows.net/" + tenant + "/" }

func (s *Service) publishedKeys(string) any { return s.tokens.JWKS() }
