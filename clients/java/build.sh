#!/usr/bin/env bash
# Builds Backend.java with the packages of Debian: default-jdk-headless libgrpc-java libprotobuf-java
# libgoogle-gson-java libnetty-java libperfmark-java libgeronimo-annotation-1.3-spec-java
# protobuf-compiler protobuf-compiler-grpc-java-plugin. Its proto-google-common-protos is older than
# ErrorInfo, so google.rpc is generated too; with Maven it is not.
set -euo pipefail
cd "$(dirname "$0")"
out=../../build/clients/java
python ../generate.py java $out/gen
classpath=$(printf '/usr/share/java/%s.jar:' grpc-{api,context,core,netty,protobuf,protobuf-lite,stub} gson guava \
  geronimo-annotation-1.3-spec netty-{buffer,codec,codec-http,codec-http2,common,handler,resolver,transport} \
  perfmark-api protobuf{,-util})
mkdir -p $out/classes
javac -nowarn -cp "$classpath" -d $out/classes Backend.java $(find $out/gen -name '*.java')
printf '#!/bin/sh\nexec java -cp "%s:%s" Backend "$@"\n' "$(realpath $out)/classes" "$classpath" > $out/backend
chmod +x $out/backend
