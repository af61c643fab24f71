# The sidecar: `docker build -f docker/sidecar.Dockerfile -t mesh-sidecar .` from the top of the repository.
FROM python:3.11-slim AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml setup.py README.md ./
COPY mesh mesh
COPY controlplane controlplane
# The sidecar never imports grpcio, the control plane or the terminal's libraries (import-linter holds it to that), so they
# stay out; --help proves that what is left is enough to start.
RUN python -m venv /opt/mesh \
 && /opt/mesh/bin/pip install --no-cache-dir . \
 && /opt/mesh/bin/pip uninstall -y grpcio grpcio-health-checking grpcio-reflection rich pygments markdown-it-py mdurl \
 && rm -rf /opt/mesh/lib/python3.11/site-packages/controlplane /opt/mesh/lib/python3.11/site-packages/mesh/demo \
 && /opt/mesh/bin/mesh sidecar --help >/dev/null \
 && /opt/mesh/bin/pip uninstall -y pip setuptools

FROM python:3.11-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin mesh \
 && install -d -o mesh -g mesh /var/lib/mesh
COPY --from=build /opt/mesh /opt/mesh
ENV PATH=/opt/mesh/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    MESH_INBOUND=0.0.0.0:15006 \
    MESH_STATE_DIR=/var/lib/mesh
USER mesh
VOLUME /var/lib/mesh
EXPOSE 15006
STOPSIGNAL SIGTERM
# Healthy: its inbound listener accepts. A sidecar without an app has none; switch the check off for it.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["python", "-c", "import os, socket; socket.create_connection(('127.0.0.1', int(os.environ['MESH_INBOUND'].rpartition(':')[2])), 2).close()"]
ENTRYPOINT ["mesh"]
CMD ["sidecar"]
