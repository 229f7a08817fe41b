# The image of agent and operator: a pinned Node, one bundle, the kernel programs and libbpf. No shell, no package
# manager.
#
#   docker build --tag registry.example.com/herald:0.1.0 .
#   docker buildx build --platform linux/amd64,linux/arm64 --push --tag registry.example.com/herald:0.1.0 .

# What runs anywhere: JavaScript and BPF know no processor. Packages with native code are those of the target.
FROM --platform=$BUILDPLATFORM node:24-bookworm-slim AS build
RUN apt-get update \
 && apt-get install --yes --no-install-recommends clang libbpf-dev linux-libc-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
RUN npm ci --no-audit --no-fund
COPY . .
RUN npm run build
ARG TARGETARCH
RUN arch=$(echo "$TARGETARCH" | sed 's/^amd64$/x64/') \
 && npm ci --no-audit --no-fund --omit=dev --os=linux --cpu="$arch" --libc=glibc \
 && mkdir -p /native/node_modules/@koromix \
 && cp "node_modules/node-linux-$arch/bin/node" /native/node \
 && cp -R node_modules/koffi /native/node_modules/ \
 && cp -R "node_modules/@koromix/koffi-linux-$arch" /native/node_modules/@koromix/

# Of the target, with what it needs beside the C library.
FROM debian:bookworm-slim AS libbpf
RUN apt-get update \
 && apt-get install --yes --no-install-recommends libbpf1 \
 && mkdir /libs \
 && cp -L /usr/lib/*/libbpf.so.1 $(ldd /usr/lib/*/libbpf.so.1 | awk '$3 ~ /lib(elf|z|zstd)\./ { print $3 }') /libs/

# Root, since capabilities of another user need ambient capabilities, which Kubernetes does not give: the chart takes
# all of root's away but five. The operator needs none and runs as 65532 (charts/herald).
FROM gcr.io/distroless/cc-debian12
COPY --from=libbpf /libs/ /usr/lib/
COPY --from=build /native/node /usr/local/bin/node
COPY --from=build /native/node_modules/ /opt/herald/node_modules/
COPY --from=build /src/build/ /opt/herald/build/
COPY --from=build /src/package.json /src/LICENSE /opt/herald/
COPY --from=build /src/image/herald /usr/local/bin/herald
LABEL org.opencontainers.image.title="Herald" \
      org.opencontainers.image.description="BGP and an eBPF load balancer for Kubernetes on bare metal" \
      org.opencontainers.image.licenses="Apache-2.0"
USER 0:0
ENTRYPOINT ["/usr/local/bin/herald"]
CMD ["--help"]
