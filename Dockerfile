# The daemon, its ledger on a volume, its socket shared by a volume.
#
#   docker build -t stoker .
#   docker run --init -v ./config:/etc/stoker/config:ro -v stoker-state:/var/lib/stoker \
#       -v /run/stoker:/run/stoker stoker
#
# `--init` buries what programs leave behind when they start others and end. Ports of local processes
# are the container's own, unless it shares the host's network (`--network host`).

ARG BASE_IMAGE=python:3.13-slim
FROM ${BASE_IMAGE} AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY client client
COPY config config
COPY daemon daemon
COPY policies policies
COPY pools pools
RUN python3 -m venv /opt/stoker \
 && /opt/stoker/bin/pip install --no-cache-dir --disable-pip-version-check --constraint constraints.txt .

FROM ${BASE_IMAGE}
COPY --from=build /opt/stoker /opt/stoker
ENV PATH=/opt/stoker/bin:$PATH
RUN mkdir -p /etc/stoker/config /run/stoker && mkdir -m 0700 -p /var/lib/stoker
VOLUME ["/var/lib/stoker", "/run/stoker"]
# TERM lets claims under way finish; what the daemon made outlives it only as long as its container.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s \
    CMD ["stoker", "status", "--socket", "/run/stoker/stoker.sock"]
ENTRYPOINT ["stoker"]
CMD ["run", "--config", "/etc/stoker/config", "--state", "/var/lib/stoker", "--socket", "/run/stoker/stoker.sock"]
