package main

import (
	"os"
	"path/filepath"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// adminKubeconfig is where the user's kubeconfig is written, under the folder given by --dir.
func adminKubeconfig(dir string) string { return filepath.Join(dir, "admin.kubeconfig") }

// writeKubeconfig writes a self-contained kubeconfig (certificates embedded, mode 0600) for the client certificate of
// that name. It is written at every start: the port may have changed.
func writeKubeconfig(path, server string, p *pki, client string) error {
	var files [3][]byte
	for i, f := range []string{p.cert(clusterCA), p.cert(client), p.key(client)} {
		data, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		files[i] = data
	}
	const name = "sluice"
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: files[0]}
	config.AuthInfos[client] = &clientcmdapi.AuthInfo{ClientCertificateData: files[1], ClientKeyData: files[2]}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: client}
	config.CurrentContext = name
	data, err := clientcmd.Write(*config)
	if err != nil {
		return err
	}
	return writeFile(path, data)
}
