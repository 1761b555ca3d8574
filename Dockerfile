# syntax=docker/dockerfile:1
# The server, with the plugins and the scripts for gst-launch:
#
#   docker build -t haven .
#   docker run -e HAVEN_API_TOKEN="$(openssl rand -hex 16)" -p 8000:8000 -v haven:/data haven
#   docker run --rm -v "$PWD:/data" --entrypoint /usr/share/haven/launch/record-h264.sh haven WHERE recorded.mp4
#
# It listens on every address of the container, so it wants a token (or --no-auth after `serve`).

FROM rust:1.95-bookworm AS build
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        cmake meson ninja-build pkg-config python3 \
        libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev libgstreamer-plugins-bad1.0-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    meson setup /build --prefix /usr --buildtype release -Dtests=disabled \
    && DESTDIR=/install meson install -C /build --strip

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        ca-certificates gstreamer1.0-tools gstreamer1.0-libav gstreamer1.0-plugins-base \
        gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /data --create-home haven
COPY --from=build /install /
ENV HAVEN_DATA_DIR=/data \
    HAVEN_LISTEN=0.0.0.0:8000
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD [ "bash", "-c", \
    "exec 3<>/dev/tcp/127.0.0.1/8000; printf 'GET /healthz HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3; head -n 1 <&3 | grep -q ' 200 '" ]
ENTRYPOINT ["haven"]
CMD ["serve"]
