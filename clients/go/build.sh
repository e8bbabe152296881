#!/usr/bin/env bash
# Builds backend.go with the packages of Debian: golang-go protoc-gen-go-1-5 protoc-gen-go-grpc
# golang-google-grpc-dev golang-github-golang-protobuf-1-5-dev. Elsewhere `go mod tidy` finds them.
set -euo pipefail
cd "$(dirname "$0")"
out=../../build/clients/go
python ../generate.py go $out/src/example.com/your-team/your-backend/gen/go
export GOPATH=$PWD/$out:/usr/share/gocode GO111MODULE=off GOFLAGS=-p=2
go build -o $out/backend backend.go
