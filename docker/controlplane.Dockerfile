# The control plane, and the operator's commands: `docker build -f docker/controlplane.Dockerfile -t mesh-controlplane .`
# from the top of the repository.
FROM python:3.11-slim AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml setup.py README.md ./
COPY mesh mesh
COPY controlplane controlplane
RUN python -m venv /opt/mesh \
 && /opt/mesh/bin/pip install --no-cache-dir . \
 && /opt/mesh/bin/mesh controlplane --help >/dev/null \
 && /opt/mesh/bin/pip uninstall -y pip setuptools

FROM python:3.11-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin mesh \
 && install -d -o mesh -g mesh /var/lib/mesh
COPY --from=build /opt/mesh /opt/mesh
ENV PATH=/opt/mesh/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    MESH_CONTROL_PLANE=127.0.0.1:15010
USER mesh
VOLUME /var/lib/mesh
EXPOSE 15010
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s CMD ["mesh", "get", "services"]
ENTRYPOINT ["mesh"]
CMD ["controlplane", "--listen", "0.0.0.0:15010", "--data-dir", "/var/lib/mesh"]
