#!/usr/bin/env bash
# Builds grpcurl in .cache/bin: test/wire/grpcurl.test.ts is skipped without it. Needs Go 1.19 or newer.
set -euo pipefail
cd "$(dirname "$0")/.."

# The newest that the Go of Debian 12 can build.
version=v1.8.9
if [ -x .cache/bin/grpcurl ] && [ "$(.cache/bin/grpcurl -version 2>&1)" = "grpcurl $version" ]; then exit 0; fi
GOBIN="$PWD/.cache/bin" GOFLAGS=-modcacherw \
  go install -ldflags "-X main.version=$version" "github.com/fullstorydev/grpcurl/cmd/grpcurl@$version"
