# make or make help lists the targets. Everything needs only Go, git and make.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help build up down test judges check generate golden fuzz peers parity bench soak image release clean

VERSION ?= $(shell git describe --tags --match 'v*' --dirty 2>/dev/null)
FUZZTIME ?= 10s
BENCHFLAGS ?= -runs 3 -handover -laptop -secrets 500 -growth 1000,5000

# What is published is named after the commit and has its time, whoever builds it and whenever.
TARGETS ?=
COMMIT := $(shell git rev-parse HEAD 2>/dev/null)
EPOCH ?= $(or $(shell git log -1 --format=%ct 2>/dev/null),0)
# Compiled as what it builds for this machine is, so that it costs no second compile of everything.
DIST = CGO_ENABLED=0 go run -trimpath -buildvcs=false ./internal/release/dist

# The control plane says which Kubernetes it is; without the link flags it would call itself v0.0.0-master.
KUBERNETES := $(shell awk '$$1 == "k8s.io/kubernetes" {print $$2; exit}' cluster/go.mod)
kubeflags = -X $(1).gitVersion=$(KUBERNETES) -X $(1).gitMajor=$(word 1,$(subst ., ,$(KUBERNETES:v%=%))) \
	-X $(1).gitMinor=$(word 2,$(subst ., ,$(KUBERNETES:v%=%))) -X $(1).gitTreeState=clean

# Packages whose tests are judged by programs that are not ours, and packages with golden files.
JUDGED = $(shell grep -rlE '^//go:build .*judges' --include='*_test.go' cmd internal e2e examples | xargs -r -n1 dirname | sort -u | sed 's|^|./|')
GOLDEN = $(shell grep -rlE 'flag.Bool."update"' --include='*_test.go' internal examples | xargs -r -n1 dirname | sort -u | sed 's|^|./|')

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## bin/sluice and bin/sluice-cluster (minutes the first time, seconds after)
	go build -tags kustomize_disable_go_plugin_support -ldflags "-s -w -X github.com/sluice-gitops/sluice/internal/cli.Version=$(VERSION)" -o bin/sluice ./cmd/sluice
	cd cluster && go build -ldflags "-s -w $(call kubeflags,k8s.io/component-base/version) $(call kubeflags,k8s.io/client-go/pkg/version)" -o ../bin/sluice-cluster .

up: build ## build, then run the whole system here: ends with a secret decrypted in the cluster
	bin/sluice up

down: ## stop the system that make up started; its data stays
	bin/sluice down

# The end-to-end scripts measure time, so they run after everything else and by themselves.
test: build ## test everything, end to end too
	go test -timeout 15m $$(go list ./... | grep -v '/e2e$$')
	cd cluster && go test -timeout 15m ./...
	$(MAKE) --no-print-directory parity
	go test -timeout 45m -count=1 ./e2e

# Vault is built first (minutes, once): the packages that start it are tested side by side.
judges: build ## test against programs that are not ours (.ci/run installs them)
	@if [ -z "$(JUDGED)" ]; then echo "no test has the build tag judges"; else \
	set -x; (cd internal/testkit/realvault/server && go tool -n server); \
	go test -timeout 30m -count=1 -tags judges -run Judge $(JUDGED); fi

check: ## formatting, vet, staticcheck, and the laws of internal/lawtest
	@unformatted=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go' | xargs -r ls 2>/dev/null)); \
	if [ -n "$$unformatted" ]; then echo "not formatted (gofmt -w):"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	@if [ -n "$(JUDGED)" ]; then set -x; go vet -tags judges $(JUDGED); fi
	cd cluster && go vet ./...
	go tool staticcheck ./...
	go test ./internal/lawtest

generate: ## what is generated from Go types: the CRDs
	go generate ./...

golden: generate ## rewrite golden files and the sample's generated files; read the diff before committing
	go test $(GOLDEN) -update

fuzz: ## run every fuzz target for FUZZTIME (10s)
	@grep -rnoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' cmd internal examples | while IFS=: read -r file _ func; do \
	  echo "$${func#func } in $$(dirname $$file)"; \
	  go test -run '^$$' -fuzz "^$${func#func }$$" -fuzztime $(FUZZTIME) ./$$(dirname $$file) < /dev/null; \
	done

peers: build ## bench/bin: Flux's controllers and sops beside ours (minutes the first time, seconds after)
	cd bench && go build -o bin/ github.com/fluxcd/kustomize-controller github.com/fluxcd/source-controller github.com/getsops/sops/v3/cmd/sops
	go build -o bench/bin/ ./internal/emulator/slowvault
	cp bin/sluice bin/sluice-cluster bench/bin/

parity: peers ## hold Sluice against Flux: the fixtures of bench/parity, and the hand-over both ways
	cd bench && go test -p 1 -timeout 15m -count=1 ./...

# Every figure of docs/benchmarks.md, in one run: BENCHFLAGS='-apps 20' is a quick look.
bench: peers ## measure Sluice beside Flux, for half an hour or more: docs/benchmarks.md
	cd bench && go build -o bin/bench .
	cd bench && bin/bench $(BENCHFLAGS)

soak: peers ## the property tests with long histories, and the hand-over of 200 Kustomizations
	SLUICE_SOAK_STEPS=500 go test -timeout 60m -count=1 -run AnyHistory -v ./internal/reconcile
	SLUICE_SOAK_FAULTS=1 go test -timeout 60m -count=1 -parallel 2 ./internal/reconcile/faults
	SLUICE_SOAK_FAULTS=1 go test -timeout 60m -count=1 -run AProcessKilled ./internal/cli
	cd bench && SLUICE_HANDOVER_APPS=200 go test -timeout 60m -count=1 -run HandOver -v .

image: ## dist/: an OCI image for linux/amd64 and linux/arm64, without Docker (TARGETS=linux/amd64: that one alone)
	$(DIST) image -version "$(VERSION)" -revision "$(COMMIT)" -epoch $(EPOCH) -targets "$(TARGETS)" -o dist

release: ## dist/: archives for linux, darwin and windows with completions and man pages, and SHA256SUMS (TARGETS too)
	$(DIST) release -version "$(VERSION)" -epoch $(EPOCH) -targets "$(TARGETS)" -o dist

clean: ## remove what was built
	rm -rf bin bench/bin dist
