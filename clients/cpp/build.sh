#!/usr/bin/env bash
# Builds backend.cpp with the packages of Debian: libgrpc++-dev protobuf-compiler protobuf-compiler-grpc.
set -euo pipefail
cd "$(dirname "$0")"
out=../../build/clients/cpp
python ../generate.py cpp $out/gen
for file in $(find $out/gen -name '*.cc' | grep -E 'google/rpc|/(common|ranker|session)/'); do
  echo "$file"
done > $out/sources
xargs -n 1 -P 2 sh -c 'g++ -std=c++17 -O0 -I'$out'/gen -c "$0" -o "${0%.cc}.o"' < $out/sources
g++ -std=c++17 -I$out/gen backend.cpp $(sed 's/cc$/o/' $out/sources) -o $out/backend \
  $(pkg-config --libs grpc++ protobuf)
