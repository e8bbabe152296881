#!/usr/bin/env bash
# Builds the TypeScript client into dist/. It needs the environment of `make test-languages`.
set -euo pipefail
cd "$(dirname "$0")"
npm ci --no-audit --no-fund --silent
python ../generate.py typescript gen
cp ../service_config.json gen/
npm run --silent build
