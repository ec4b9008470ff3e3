# SFS, and the programs of the wheels that it may use: PostgreSQL (embedded), SeaweedFS (weed).
#
#   docker build -t sfs-server .
#   docker run -p 8080:8080 -v sfs-data:/data sfs-server
#
# And the gateway (docs/gateway.md): nginx of Debian, before processes that are at one address.
#
#   docker build --target gateway -t sfs-gateway .
#   docker run -p 8080:8080 sfs-gateway -upstream sfs:8080
#
# Nothing is compiled, because every dependency has wheels, for amd64 and arm64 alike.
#
# There is no init: sfs-server as process 1 handles SIGTERM itself, and its one child, the embedded
# PostgreSQL, is started and reaped by it. What PostgreSQL might leave behind when it crashes are a
# few dead entries of the process table, which a start takes into account. `docker run --init` does
# no harm.
ARG PYTHON=3.13-slim-bookworm

FROM python:${PYTHON} AS build
WORKDIR /src
RUN ["python", "-m", "venv", "/opt/sfs"]
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY schema ./schema
COPY gfs ./gfs
COPY sfs_server ./sfs_server
RUN ["/opt/sfs/bin/pip", "install", "--no-cache-dir", "--disable-pip-version-check", "--constraint", "constraints.txt", ".[embedded,cluster]"]

FROM python:${PYTHON} AS gateway
RUN ["sh", "-c", "apt-get update -q && apt-get install -q -y --no-install-recommends nginx-light libnginx-mod-http-lua && rm -rf /var/lib/apt/lists"]
RUN ["install", "--directory", "--owner", "10001", "--group", "10001", "--mode", "0700", "/data"]
COPY manifests/__init__.py /opt/gateway/manifests/__init__.py
COPY manifests/gateway /opt/gateway/manifests/gateway
ENV PYTHONPATH=/opt/gateway PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGQUIT
HEALTHCHECK --interval=30s --timeout=6s --start-period=10s --retries=3 CMD ["python", "-c", "import socket; socket.create_connection(('127.0.0.1', 8080), 5)"]
ENTRYPOINT ["python", "-m", "manifests.gateway"]

FROM python:${PYTHON}
# PostgreSQL wants its user to have a name.
RUN ["useradd", "--uid", "10001", "--user-group", "--no-create-home", "--home-dir", "/data", "--shell", "/usr/sbin/nologin", "sfs"]
RUN ["install", "--directory", "--owner", "sfs", "--group", "sfs", "--mode", "0700", "/data"]
COPY --from=build /opt/sfs /opt/sfs
ENV PATH=/opt/sfs/bin:/usr/local/bin:/usr/bin:/bin SFS_ADDR=:8080 SFS_DATA=/data
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=6s --start-period=60s --retries=3 CMD ["python", "-c", "import http.client, os; port = os.environ['SFS_ADDR'].rpartition(':')[2]; connection = http.client.HTTPConnection('127.0.0.1', int(port), timeout=5); connection.request('GET', '/healthz'); raise SystemExit(connection.getresponse().status != 200)"]
ENTRYPOINT ["sfs-server"]
